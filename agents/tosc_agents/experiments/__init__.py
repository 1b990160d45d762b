"""The article's experiments, from training to report: ``tosc reproduce``.

================  ==============================================================================================
``methods``       who is compared: every scheme with its options, under the name that plots show
``presets``       how much of it: data, networks, epochs, attackers, seeds
``jobs``          work that is done once, resumed where it stopped, and shared between processes
``trainings``     recipes, and one function that follows them;  ``systems``: the trained systems of one data set
``attacks``       one attacker against one method, as a job
``fig3``          accuracy, PSNR, re-identification and label inference over the SNR, privacy-utility planes
``table1``        multiply-accumulates, parameters and seconds;  ``costs``: how these are timed
``faces``         table 2 (five-fold cross-validation) and figure 4 (reconstructions, and the gender they show)
``measurements``  what was measured: one DataFrame, a row for each figure
``claims``        the table of the article's eight claims;  ``criteria``: how it is judged;  ``article``: what it prints
``sections``      what an experiment is, and what else it tells;  ``charts``: its curves and planes
``report``        HTML and Markdown (``report/templates``), CSV and JSON
``reproduction``  all of them together
================  ==============================================================================================
"""
