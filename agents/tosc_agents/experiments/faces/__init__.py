"""Table 2 and figure 4, the experiments on faces; ``data`` says what stands in for them where there are none."""
