"""The article's eight claims, judged by the measurements of the experiments.

============  ===========================================================================================
``criteria``  when one measurement is above another; named criteria, and what many comparisons make of one
``results``   the measurements, found again by what they measure; what is absent is said, never guessed
``accuracy``  claims 1, 2 and 4: accuracy over the SNR, and what a privacy budget buys of it
``privacy``   claims 3 and 5: leaks over the SNR, and the trade-off
``faces``     claims 6 and 7: CelebA
``cost``      claim 8: time
``judging``   the verdicts and their table
============  ===========================================================================================
"""
