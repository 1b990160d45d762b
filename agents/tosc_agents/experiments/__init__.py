"""The article's experiments, from training to report: ``tosc reproduce``.

================  ==============================================================================================
``methods``       who is compared: every scheme with its options, under the name that plots show
``presets``       how much of it: data, networks, epochs, attackers, seeds
``jobs``          work that is done once, resumed where it stopped, and shared between processes
``systems``       recipes, and the trained systems of one data set
``attacks``       one attacker against one method, as a job
``fig3``          accuracy, PSNR, re-identification and label inference over the SNR, privacy-utility planes
``table1``        multiply-accumulates, parameters and seconds
``table2``        attributes of faces by cross-validation;  ``fig4``: reconstructions, and the gender they show
``measurements``  what was measured: one DataFrame, a row for each figure
``claims``        the article's eight claims and what decides them;  ``article``: what it prints
``report``        HTML and Markdown (``report/templates``), CSV and JSON;  ``charts``: curves and planes
``reproduction``  all of them together
================  ==============================================================================================
"""
