"""The article's experiments, from training to picture: ``tosc reproduce``.

================  ==============================================================================================
``arms``          who is compared: every scheme with its options, under the name that figures show
``presets``       how much of it: data, networks, epochs, attackers, seeds
``cells``         pieces of work that are done once, resumed where they stopped, and shared between processes
``trainings``     recipes, and one function that follows them;  ``systems``: the trained systems of one data set
``attacks``       one attacker against one arm, as a cell
``fig3``          accuracy, PSNR, re-identification and label inference over the SNR, privacy-utility planes
``table1``        multiply-accumulates, parameters and seconds
``faces``         table 2 (five-fold cross-validation) and figure 4 (reconstructions, and the gender they show)
``statements``    the article's eight statements, judged from the rows;  ``article``: what it prints
``findings``      what an experiment hands to the report: rows, tables, pictures, sentences
``report``        findings as HTML, Markdown, JSON and CSV;  ``charts``, ``canvas``, ``grids``: its pictures
``reproduction``  all of them together
================  ==============================================================================================
"""
