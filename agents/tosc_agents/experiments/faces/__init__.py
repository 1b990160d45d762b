"""Table 2 and figure 4, the experiments on faces; ``setting`` says what stands in for them where there are none."""
