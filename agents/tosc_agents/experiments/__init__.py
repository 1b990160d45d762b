"""The article's experiments, from training to plot: ``tosc reproduce``.

================  ==============================================================================================
``methods``       who is compared: every scheme with its options, under the name that plots show
``presets``       how much of it: data, networks, epochs, attackers, seeds
``jobs``          work that is done once, resumed where it stopped, and shared between processes
``trainings``     recipes, and one function that follows them;  ``systems``: the trained systems of one data set
``attacks``       one attacker against one method, as a job
``fig3``          accuracy, PSNR, re-identification and label inference over the SNR, privacy-utility planes
``table1``        multiply-accumulates, parameters and seconds
``faces``         table 2 (five-fold cross-validation) and figure 4 (reconstructions, and the gender they show)
``claims``        the article's eight claims, judged from the measurements;  ``article``: what it prints
``sections``      what an experiment hands to the report: measurements, tables, plots, sentences
``report``        sections as HTML, Markdown, JSON and CSV;  ``charts``, ``pareto``, ``grids``: its plots
``reproduction``  all of them together
================  ==============================================================================================
"""
