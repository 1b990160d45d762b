"""Each statement holds, holds in part, fails or stays unmeasured as its rows say, and never by what was fitted."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
from tosc_agents.experiments.arms import ARMS
from tosc_agents.experiments.article import ATTRIBUTES, CELEBA, COMPLEXITY, SNR_DB, complexity_key
from tosc_agents.experiments.findings import FOLDS, Row
from tosc_agents.experiments.statements import (
    FAILS,
    HOLDS,
    IN_PART,
    UNTESTED,
    clearly_above,
    judge,
    statements_findings,
)

from tosc_env.errors import InputError

FLOOR = 12.0
NOTE = "synthetic rows"
ALL = [arm.key for arm in ARMS if arm.article]
HONEST, CALIBRATED = ["dp-0.05", "dp-0.1", "dp-0.9"], ["dp-cal-0.05", "dp-cal-0.1", "dp-cal-0.9"]
DP, ENCRYPTION, SEMANTIC = [*HONEST, *CALIBRATED], ["enc-fixed", "enc-shuffle"], ["ibal", "lbvq"]
FIGURES = {
    "high": {
        "0.05": 0.845,
        "0.1": 0.850,
        "0.9": 0.860,
        "enc": 0.80,
        "ibal": 0.87,
        "lbvq": 0.88,
        "deep": 0.90,
    },
    "leak": {"0.05": 0.5, "0.1": 0.8, "0.9": 1.1, "enc": 0.2, "ibal": 0.3, "lbvq": 0.5, "deep": 1.6},
    "reid": {"0.05": 0.6, "0.1": 0.6, "0.9": 0.6, "enc": 0.6, "ibal": 0.2, "lbvq": 0.3, "deep": 1.0},
    "image": {
        "0.05": 0.002,
        "0.1": 0.002,
        "0.9": 0.002,
        "enc": 0.002,
        "ibal": 0.002,
        "lbvq": 0.004,
        "deep": 0.002,
    },
    "epoch": {"0.05": 8.5, "0.1": 8.5, "0.9": 8.5, "enc": 8.2, "ibal": 32.0, "lbvq": 37.0, "deep": 8.0},
    "balanced": {
        "0.05": 0.65,
        "0.1": 0.67,
        "0.9": 0.70,
        "enc": 0.75,
        "ibal": 0.74,
        "lbvq": 0.82,
        "deep": 0.83,
    },
}


def figure(what, arm):
    return FIGURES[what][next(name for name in FIGURES[what] if arm.endswith(name) or arm.startswith(name))]


def article_world():
    """Rows in which all that the article states is true (both readings of DP and of Encryption included)."""
    rows = []
    for arm in ALL:
        for snr_db in SNR_DB:
            low = snr_db <= 4
            lost = (0.07 if arm in SEMANTIC else 0.01) if low else 0.0
            leak = figure("leak", arm) - (
                0.2 if arm == "ibal" and low else 0.4 if arm == "deepjscc" and low else 0
            )
            rows += [
                Row("fig3", arm, "accuracy", figure("high", arm) - lost, 0.001, 3, snr_db=snr_db),
                Row("fig3", arm, "psnr_db", FLOOR + leak, 0.005, 3, snr_db=snr_db, attacker="inversion"),
                Row("fig3", arm, "psnr_db", FLOOR + leak / 2, 0.005, 3, snr_db=snr_db, attacker="linear"),
                Row("fig3", arm, "reid_match", figure("reid", arm), 0.01, 3, snr_db=snr_db, attacker="match"),
            ]
        rows += [
            Row("table1", arm, "seconds_per_image", figure("image", arm), 1e-5, 5),
            Row("table1", arm, "seconds_per_epoch", figure("epoch", arm), 0.1, 5),
            Row("fig4", arm, "psnr_db", 12.5 if arm in SEMANTIC else 15.0, 0.05, 3, attacker="inversion"),
            Row("fig4", arm, "ssim", 0.1 if arm in SEMANTIC else 0.3, 0.01, 3, attacker="inversion"),
            Row("fig4", arm, "gender_from_image", 0.51, 0.02, 3, attacker="inversion"),
            Row("fig4", arm, "gender_adaptive", 0.57, 0.02, 3, attacker="inversion"),
            Row("fig4", arm, "infer_Male", 0.58, 0.02, 3, attacker="attributes"),
        ]
        for name in ATTRIBUTES:
            rows.append(Row("table2", arm, f"balanced_{name}", figure("balanced", arm), 0.005, 5, FOLDS))
            rows.append(Row("table2", arm, f"accuracy_{name}", 0.96, 0.005, 5, FOLDS))
    rows.append(Row("fig4", "originals", "chance_Male", 0.58))
    rows.append(Row("fig4", "originals", "gender_original", 0.97, 0.01, 3))
    return rows


def put(rows, mean, figure, arms, *, experiment=None, snr_db=None):
    """The rows with another mean (a number, or a function of the row) where all of the rest agrees."""

    def hit(row):
        return (
            row.figure == figure
            and row.arm in arms
            and (experiment is None or row.experiment == experiment)
            and (snr_db is None or row.snr_db in snr_db)
        )

    assert any(hit(row) for row in rows), f"no row of {figure} is hit"
    return [replace(row, mean=mean(row) if callable(mean) else mean) if hit(row) else row for row in rows]


def statement(number, rows, floor_db=FLOOR):
    found = judge(rows, floor_db=floor_db, data_note=NOTE)
    assert [one.number for one in found] == list(range(1, 9))
    return found[number - 1]


def part(one, start):
    """The evidence of the part whose name begins so."""
    return next(sentence for sentence in one.evidence if sentence.lower().startswith(start.lower()))


def fails_1(rows):
    return put(rows, 0.5, "accuracy", SEMANTIC)


def in_part_1(rows):
    return put(rows, 0.90, "accuracy", ENCRYPTION)


def fails_2(rows):
    rows = put(rows, 0.6, "accuracy", [*DP, *ENCRYPTION], snr_db=[0.0])
    return put(rows, 0.88, "accuracy", SEMANTIC)


def in_part_2(rows):
    """A good LBVQ: it loses half a point from 12 to 0 dB, less than the others."""
    return put(rows, 0.875, "accuracy", ["lbvq"], snr_db=[0.0])


def fails_3(rows):
    rows = put(rows, lambda row: FLOOR + 0.5 + row.snr_db / 10, "psnr_db", ["lbvq"], experiment="fig3")
    rows = put(rows, FLOOR + 3, "psnr_db", ["ibal"], experiment="fig3")
    rows = put(rows, lambda row: FLOOR + 0.5 + row.snr_db / 10, "psnr_db", ["deepjscc"], experiment="fig3")
    return put(rows, 1.0, "reid_match", SEMANTIC)


def in_part_3(rows):
    """What PSNR does not see."""
    return put(rows, 0.95, "reid_match", SEMANTIC)


def fails_4(rows):
    for family in (HONEST, CALIBRATED):
        for arm, accuracy, leak in zip(family, (0.70, 0.69, 0.68), (1.5, 1.4, 1.3), strict=True):
            rows = put(rows, accuracy, "accuracy", [arm])
            rows = put(rows, FLOOR + leak, "psnr_db", [arm], experiment="fig3")
    return rows


def in_part_4(rows):
    """Honest DP near chance, as its bound demands."""
    for arm, accuracy in zip(HONEST, (0.10, 0.101, 0.15), strict=True):
        rows = put(rows, accuracy, "accuracy", [arm])
    return put(rows, FLOOR, "psnr_db", HONEST, experiment="fig3")


def fails_5(rows):
    rows = put(rows, FLOOR + 1.6, "psnr_db", ENCRYPTION, experiment="fig3")
    rows = put(rows, 0.90, "accuracy", ENCRYPTION)
    rows = put(rows, FLOOR + 1.5, "psnr_db", ["ibal"], experiment="fig3")
    return put(rows, 0.70, "accuracy", ["ibal"])


def in_part_5(rows):
    """With the key, Encryption costs nothing."""
    return put(rows, 0.90, "accuracy", ENCRYPTION)


def fails_6(rows):
    rows = put(rows, 20.0, "psnr_db", SEMANTIC, experiment="fig4")
    for figure in ("gender_from_image", "gender_adaptive", "infer_Male"):
        rows = put(rows, 0.9, figure, SEMANTIC)
    return rows


def in_part_6(rows):
    """The picture misleads a classifier, the symbols tell whoever asks them."""
    return put(rows, 0.9, "infer_Male", SEMANTIC)


def fails_7(rows):
    for name in ATTRIBUTES:
        rows = put(put(rows, 0.6, f"balanced_{name}", ["lbvq"]), 0.5, f"balanced_{name}", ["ibal"])
    return rows


def in_part_7(rows):
    """LBVQ best, but by 2 points."""
    for name in ATTRIBUTES:
        rows = put(rows, 0.77, f"balanced_{name}", ["lbvq"])
    return rows


def fails_8(rows):
    rows = put(put(rows, 0.0021, "seconds_per_image", ["lbvq"]), 0.003, "seconds_per_image", ["ibal"])
    return put(put(rows, 8.1, "seconds_per_epoch", SEMANTIC), 20.0, "seconds_per_epoch", DP)


def in_part_8(rows):
    """One backbone: LBVQ takes no longer than the rest."""
    return put(rows, 0.0021, "seconds_per_image", ["lbvq"])


NUMBERS = range(1, 9)
NEEDS = dict(zip(NUMBERS, ["fig3"] * 5 + ["fig4", "table2", "table1"], strict=True))


@pytest.mark.parametrize("number", NUMBERS)
def test_where_the_article_is_right_its_statement_holds_but_never_through_what_was_fitted(number):
    one = statement(number, article_world())
    assert one.verdict == (IN_PART if number == 4 else HOLDS), one
    assert not one.missing and one.evidence
    assert (one.why == "") == (number != 4)
    told = [sentence for sentence in one.evidence if ": holds; " not in sentence]
    assert (len(told) == 1 and "fitted" in told[0]) if number == 4 else not told


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(("kind", "verdict"), [("fails", FAILS), ("in_part", IN_PART)])
def test_other_rows_make_it_fail_or_hold_in_part_with_the_reason_and_the_data(number, kind, verdict):
    one = statement(number, globals()[f"{kind}_{number}"](article_world()))
    assert one.verdict == verdict, one
    assert any(": fails; " in sentence for sentence in one.evidence)
    assert any(": holds; " in sentence for sentence in one.evidence) == (verdict == IN_PART)
    assert one.why.endswith(f"Data: {NOTE}.")


@pytest.mark.parametrize("number", NUMBERS)
def test_without_its_experiment_a_statement_is_unmeasured_and_says_what_it_lacks(number):
    one = statement(number, [row for row in article_world() if row.experiment != NEEDS[number]])
    assert one.verdict == UNTESTED and one.evidence == () and one.why == ""
    assert one.missing and all(NEEDS[number] in absent for absent in one.missing)
    alone = statement(number, [row for row in article_world() if row.experiment == NEEDS[number]])
    assert alone == statement(number, article_world())


@pytest.mark.parametrize("number", NUMBERS)
def test_no_statement_holds_where_its_subject_is_absent(number):
    """Absent rows are named, and never counted as if they agreed."""
    one = statement(number, [row for row in article_world() if row.arm != "lbvq"])
    assert one.verdict != HOLDS and any("LBVQ" in absent for absent in one.missing)


@pytest.mark.parametrize("seed", range(10))
def test_every_part_is_either_told_with_figures_or_named_as_missing(seed):
    """A measurement is lost with all of its attackers, since the weaker of two would be taken for the strongest."""
    rows = article_world()
    lost = {(row.arm, row.figure, row.snr_db) for row in random.Random(seed).sample(rows, 10)}
    kept = [row for row in rows if (row.arm, row.figure, row.snr_db) not in lost]
    whole = judge(rows, floor_db=FLOOR, data_note=NOTE)
    for one, full in zip(judge(kept, floor_db=FLOOR, data_note=NOTE), whole, strict=True):
        assert len(one.evidence) + len(one.missing) == len(full.evidence)
        assert not (one.verdict == HOLDS and one.missing)
        assert not any(": fails; " in sentence for sentence in one.evidence), "less data refutes nothing"


def test_without_a_floor_no_leak_is_judged():
    rows = article_world()
    for number in (3, 4, 5):
        one = statement(number, rows, floor_db=None)
        assert any("fig3's mean-image floor" in absent for absent in one.missing)
        assert not any("PSNR leak" in sentence for sentence in one.evidence)


def test_one_counter_example_refutes_whatever_else_is_absent():
    """Part 2's figures: LBVQ is more accurate and leaks less than IBAL; DP and Encryption are not needed to see it."""
    rows = []
    for arm, accuracy, half, psnr in (("deepjscc", 0.8672, 0.0015, 14.45), ("lbvq", 0.8659, 0.0004, 13.25)):
        rows.append(Row("fig3", arm, "accuracy", accuracy, half, 3, snr_db=12.0))
        rows.append(Row("fig3", arm, "psnr_db", psnr, 0.01, 3, snr_db=12.0, attacker="codebook"))
    rows.append(Row("fig3", "ibal", "accuracy", 0.8601, 0.0057, 3, snr_db=12.0))
    rows.append(Row("fig3", "ibal", "psnr_db", 13.34, 0.01, 3, snr_db=12.0, attacker="inversion-mlp"))
    rows.append(Row("fig3", "enc-fixed", "accuracy", 0.8665, 0.0026, 3, snr_db=12.0))
    one = statement(5, rows, floor_db=12.73)
    assert one.verdict == FAILS and any("leaks least" in absent for absent in one.missing)
    said = part(one, "IBAL on the Pareto front")
    assert ": fails; " in said
    assert (
        "IBAL 86.0 ± 0.6 % with a leak of 0.61 ± 0.01 dB" in said
        and "LBVQ 86.6 ± 0.0 % with 0.52 ± 0.01 dB" in said
    )
    price = part(one, "Encryption clearly less accurate")
    assert "(fixed shuffle) 86.7 ± 0.3 % against DeepJSCC 86.7 ± 0.1 %" in price and ": fails; " in price


def test_evidence_names_the_figures_of_the_closest_comparison():
    one = statement(1, article_world())
    said = part(one, "IBAL clearly above honest DP")
    assert "in all 12 comparisons" in said and "IBAL 87.0 ± 0.1 % against DP 0.9 86.0 ± 0.1 %" in said
    rows = put(article_world(), 0.869, "accuracy", ["dp-0.1"], snr_db=[16.0])
    said = part(statement(1, rows), "IBAL clearly above honest DP")
    assert "fails; in 1 of 12 comparisons, the worst at 16 dB" in said
    assert "IBAL 87.0 ± 0.1 % against DP 0.1 86.9 ± 0.1 %" in said


@pytest.mark.parametrize(
    ("number", "name", "figures"),
    [
        (
            2,
            "LBVQ loses accuracy",
            ["7.0 ± 0.1 points lost", "88.0 ± 0.1 % at 12 dB", "81.0 ± 0.1 % at 0 dB"],
        ),
        (
            3,
            "LBVQ's PSNR leak clearly below half",
            ["LBVQ 0.50 ± 0.01 dB", "half of DeepJSCC's 0.60 ± 0.00 dB"],
        ),
        (
            4,
            "calibrated DP: the more budget, the more accuracy",
            ["84.5 ± 0.1 % at 0.05", "86.0 ± 0.1 % at 0.9"],
        ),
        (
            4,
            "calibrated DP 0.05 3-4 points less accurate than LBVQ at 12 dB",
            ["3.5 ± 0.1 points under LBVQ"],
        ),
        (5, "IBAL with the largest", ["IBAL 0.779", "the front is, from the least leak, Encryption"]),
        (
            6,
            "a gender classifier does no better",
            ["IBAL 51.0 ± 2.0 %", "58.0 % (one sample)", "the originals 97.0 ± 1.0 %"],
        ),
        (
            7,
            "LBVQ's lead over the next best",
            ["+7.0 points on Mustache over Encryption (fixed shuffle) 75.0 ± 0.5 %"],
        ),
        (7, "LBVQ best", ["LBVQ 82.0 ± 0.5 %", "75.0 ± 0.5 %", "plain 96.0 ± 0.5 % against 96.0 ± 0.5 %"]),
        (
            8,
            "LBVQ more than 10 % slower",
            ["LBVQ 4.00 ± 0.01 ms", "1.1 times DeepJSCC's 2.20 ± 0.01 ms"],
        ),
    ],
)
def test_evidence_of_every_kind_names_its_figures(number, name, figures):
    said = part(statement(number, article_world()), name)
    assert all(figure in said for figure in figures), said


def test_the_fitted_gap_decides_nothing_however_large():
    for accuracy in (0.845, 0.5):
        rows = put(article_world(), accuracy, "accuracy", ["dp-cal-0.05"], snr_db=[12.0])
        assert "set aside" in part(
            statement(4, rows), "calibrated DP 0.05 3-4 points less accurate than LBVQ at 12"
        )
    fitted = [
        row
        for row in article_world()
        if row.figure == "accuracy" and row.snr_db == 12.0 and row.arm in ("lbvq", "dp-cal-0.05")
    ]
    one = statement(4, fitted)
    assert one.verdict == UNTESTED and "fitted" in one.evidence[0]


@pytest.mark.parametrize("seed", range(30))
def test_statement_4_never_plainly_holds(seed):
    draw = random.Random(seed)
    rows = [
        replace(row, mean=row.mean + draw.choice([0, 0, 1]) * draw.gauss(0, 0.01)) for row in article_world()
    ]
    kept = [row for row in rows if draw.random() > draw.choice([0, 0.1])]
    assert statement(4, kept).verdict in (IN_PART, FAILS, UNTESTED)


def test_a_scheme_at_chance_does_not_win_by_having_nothing_to_lose():
    one = statement(2, put(article_world(), 0.10, "accuracy", HONEST))
    said = part(one, "honest DP loses less than IBAL")
    assert "set aside" in said and "DP 0.05 10.0 ± 0.1 %" in said and "nothing to lose" in said
    assert one.verdict == IN_PART


def test_a_gender_classifier_that_fails_on_originals_shows_nothing():
    one = statement(6, put(article_world(), 0.58, "gender_original", ["originals"]))
    assert sum("classifier better than a constant answer" in absent for absent in one.missing) == 2
    assert one.verdict == IN_PART


def test_budgets_cost_the_same_so_that_one_of_them_is_enough_for_the_times():
    keep = ["deepjscc", "dp-cal-0.1", "enc-fixed", "ibal", "lbvq"]
    rows = [row for row in article_world() if row.arm in keep]
    assert statement(8, rows).verdict == HOLDS
    slow = put(rows, 0.003, "seconds_per_image", ["dp-cal-0.1"])
    said = part(statement(8, slow), "no other scheme")
    assert "fails; in 1 of 3 comparisons, the worst: DP 0.1 (calibrated) 3.00 ± 0.01 ms" in said


def test_the_rivals_of_ours_are_no_part_of_the_articles_statements():
    rows = article_world()
    extra = [
        Row("fig3", arm, figure, mean, 0.001, 3, snr_db=snr_db, attacker=attacker)
        for arm in ("label-only", "vq", "enc-rotation")
        for snr_db in SNR_DB
        for figure, mean, attacker in (("accuracy", 0.99, None), ("psnr_db", FLOOR, "inversion"))
    ]
    assert judge([*rows, *extra], floor_db=FLOOR, data_note=NOTE) == judge(
        rows, floor_db=FLOOR, data_note=NOTE
    )


def row(mean, interval=math.nan):
    return Row("fig3", "lbvq", "accuracy", mean, interval, 1 if math.isnan(interval) else 3)


@pytest.mark.parametrize(
    ("a", "b", "margin", "expected"),
    [
        (row(0.86, 0.03), row(0.80, 0.04), 0.0, True),
        (row(0.85, 0.03), row(0.80, 0.04), 0.0, False),
        (row(0.86, 0.03), row(0.80, 0.04), 0.02, False),
        (row(0.81), row(0.80), 0.0, True),
        (row(0.81), row(0.80, 0.02), 0.0, False),
        (row(0.80), row(0.80), 0.0, False),
        (row(0.80), row(0.81), 0.0, False),
    ],
)
def test_a_difference_counts_only_beyond_margin_and_both_intervals(a, b, margin, expected):
    assert clearly_above(a, b, margin) is expected


def test_a_single_sample_is_said_to_be_one():
    rows = [replace(row, interval=math.nan, samples=1) for row in article_world()]
    one = statement(1, rows)
    assert one.verdict == HOLDS and all("(one sample)" in sentence for sentence in one.evidence)


def test_wide_intervals_leave_nothing_clear():
    rows = [replace(row, interval=1.0) for row in article_world() if row.figure == "accuracy"]
    assert statement(1, rows).verdict == FAILS


def test_bad_rows_are_refused_with_their_name():
    rows = article_world()
    with pytest.raises(InputError, match="accuracy of LBVQ in fig3 must be a finite number, not nan"):
        statement(1, put(rows, math.nan, "accuracy", ["lbvq"]))
    with pytest.raises(InputError, match=r"accuracy of DeepJSCC in fig3 is there twice, at SNR 0\.0"):
        statement(1, [rows[0], *rows])
    with pytest.raises(InputError, match="floor_db must be a finite number"):
        statement(1, rows, floor_db=math.nan)
    with pytest.raises(InputError, match="data_note must say which data"):
        judge(rows, floor_db=FLOOR, data_note=" ")


def test_the_findings_are_one_table_of_eight_with_rules_and_plain_values():
    rows = [one for one in in_part_4(article_world()) if one.experiment != "table2"]
    found = statements_findings(rows, floor_db=FLOOR, data_note=f"{NOTE}.")
    (table,) = found.tables
    assert found.experiment == "statements" and found.rows == [] and found.pictures == []
    assert tuple(table.columns) == ("number", "statement", "verdict", "evidence", "why")
    assert [line[0] for line in table.rows] == list(NUMBERS)
    assert found.notes[0] == "Verdicts on the eight statements: holds 3, holds in part 4, not measured 1."
    assert table.rows[6][2] == UNTESTED and table.rows[6][4].startswith(
        "Not measured: LBVQ best on all three"
    )
    assert table.rows[3][4].endswith(f"Data: {NOTE}.") and NOTE in table.caption
    assert "channel noise" in found.notes[-1] and "single samples: 1" in found.notes[-1]
    told = json.loads(json.dumps(found.details))
    assert [one["verdict"] for one in told["statements"]] == [line[2] for line in table.rows]


def test_the_articles_tables_name_its_schemes_and_attributes():
    schemes = {arm.article for arm in ARMS if arm.article}
    assert {complexity_key(name) for name in schemes} == set(COMPLEXITY)
    assert set(CELEBA) == schemes - {"DeepJSCC"}
    assert all(tuple(column) == ATTRIBUTES for column in CELEBA.values())
    assert CELEBA["LBVQ"]["Smiling"] == 80.6 and COMPLEXITY["IBAL"].mparameters == 10.91
