"""docs/results.md is what its tables say."""

import pytest
from matplotlib.axes import Axes


@pytest.fixture(scope="module")
def results_page(import_script):
    return import_script("results_page")


@pytest.fixture(scope="module")
def results_tables(import_script):
    return import_script("results_tables")


@pytest.fixture(scope="module")
def results_scan_tables(import_script):
    return import_script("results_scan_tables")


def test_the_page_is_that_of_its_tables(results_page):
    assert results_page.PAGE.read_text() == results_page.page(), "run python scripts/results_page.py"


def test_seeds_are_averaged_and_the_best_method_is_bold(results_tables):
    def row(method, seed, psnr, slices="4:5.2"):
        case = {"truth": "some_T1w", "slices": slices, "method": method, "seed": seed, "noise": "0", "box": "0"}
        return case | {
            "psnr_db": psnr,
            "ssim": "0.9",
            "seconds": {"a": "0.0", "b": "nan" if seed == "1" else "12.3"}[method],
        }

    rows = [
        row("a", "0", "20"),
        row("a", "1", "22"),
        row("b", "0", "24"),
        row("b", "1", "24"),
        row("b", "0", "25", "3:3"),
    ]
    lines = results_tables.methods_table(rows)
    assert lines[0] == "| head | slices | a | b |"
    assert lines[2] == "| some T1w | 3 mm |  | **25.00**, 0.900 |"
    assert lines[3] == "| some T1w | 4 mm every 5.2 | 21.00 ± 1.41, 0.900 | **24.00**, 0.900 |"
    assert lines[4:] == ["", "Median seconds: b 12."]
    with pytest.raises(ValueError, match="differ in seeds"):
        results_tables.methods_table(rows[1:])


def test_noise_levels_are_told_apart(results_tables):
    case = {"truth": "some_T1w", "slices": "4:4", "seed": "0", "box": "0", "method": "a", "ssim": "0.9", "seconds": "1"}
    rows = [case | {"noise": "0.05 Rician", "psnr_db": "20"}, case | {"noise": "0.1 Rician", "psnr_db": "18"}]
    lines = results_tables.noise_table(rows)
    assert lines[0] == "| noise | head | slices | a |" and lines[1] == "| --- | --- | --- | --- |"
    assert lines[2:] == [
        "| 5 % Rician | some T1w | 4 mm | **20.00**, 0.900 |",
        "| 10 % Rician | some T1w | 4 mm | **18.00**, 0.900 |",
    ]


def test_the_best_method_is_counted(results_tables):
    case = {"truth": "some_T1w", "seed": "0", "noise": "0", "box": "0", "seconds": "1"}
    rows = [
        case | {"slices": slices, "method": method, "psnr_db": str(psnr), "ssim": str(ssim)}
        for slices, method, psnr, ssim in (
            ("3:3", "a", 20, 0.9),
            ("3:3", "b", 9, 0.8),
            ("4:4", "a", 20, 0.7),
            ("4:4", "b", 21, 0.6),
            ("5:5", "a", 20, 0.6),
            ("5:5", "b", 19, 0.7),
        )
    ]
    said = "Highest PSNR: a in 2 of 3, b in 1 of 3; highest SSIM: a in 2 of 3, b in 1 of 3."
    assert results_tables.ranked_table(rows)[-1] == said


def test_what_a_wrong_thickness_loses_is_a_median(results_tables):
    case = {"truth": "some_T1w", "seed": "0", "noise": "0", "box": "0", "ssim": "0.9", "seconds": "1"}
    found = {"3:3": (20, 20, 19), "4:4": (21, 20.9, 21), "6:7.8": (22, 21.8, 18)}
    rows = [
        case | {"slices": slices, "method": method, "psnr_db": str(psnr)}
        for slices, values in found.items()
        for method, psnr in zip(("true", "estimated", "header"), values, strict=True)
    ]
    said = (
        "Lost in the median: estimated 0.10 dB (at most 0.20); where there are gaps estimated 0.20 dB (at most 0.20), "
        "header 4.00 dB (at most 4.00)."
    )
    assert results_tables.thickness_table(rows)[-1] == said


def test_estimated_widths_are_summed_up_by_acquisition(results_scan_tables):
    columns = ("truth", "shape", "fwhm_mm", "spacing_mm", "assumed", "estimate_mm", "low_mm", "high_mm")
    known, gaussian, adversarial = results_scan_tables.ASSUMED
    rows = [
        ("adi_T1w", "rect", "4", "4", known, "5.0", "3.5", "6"),
        ("uih1_T1w", "rect", "4", "4", known, "2.0", "1.5", "3"),
        ("adi_T1w", "rect", "4", "4", gaussian, "", "", ""),
        ("adi_T1w", "slr", "4", "5.2", gaussian, "3.0", "3", "4"),
        ("adi_T1w", "slr", "4", "5.2", adversarial, "4.4", "3", "4"),
    ]
    lines = results_scan_tables.profile_table([dict(zip(columns, row, strict=True)) for row in rows])
    assert lines[2] == "| rect, 4 mm | 37.5 % | 50 % | 2 of 2 | - | - | 0 of 1 | - | - | 0 of 0 |"
    assert lines[3] == "| slr, 4 mm every 5.2 | - | - | 0 of 0 | 25.0 % | 100 % | 1 of 1 | 10.0 % | 100 % | 1 of 1 |"
    assert (
        lines[5] == "| all of adi_T1w | 25.0 % | 100 % | 1 of 1 | 25.0 % | 100 % | 1 of 2 | 10.0 % | 100 % | 1 of 1 |"
    )


def test_what_adaptation_gains_is_a_median(results_tables):
    case = {"truth": "some_T1w", "seed": "0", "noise": "0", "box": "0", "seconds": "1", "ssim": "0.9"}
    found = {"3:3": ("20", "21"), "4:4": ("20", "19.9"), "6:6": ("20", "20.3")}
    rows = [
        case | {"slices": slices, "method": method, "psnr_db": psnr}
        for slices, values in found.items()
        for method, psnr in zip(("FOCVS", "adapted"), values, strict=True)
    ]
    said = "Adaptation gains +0.30 dB in the median (-0.10 to +1.00)."
    assert results_tables.adaptation_table(rows)[-1] == said
    more = [row | {"seed": "1"} | ({"psnr_db": "23"} if row["method"] == "adapted" else {}) for row in rows[:2]]
    said = "Adaptation gains +0.30 dB in the median (-0.10 to +2.00)."  # the mean over the two seeds of 3 mm
    assert results_tables.adaptation_table([*more, *rows])[-1] == said


def test_classes_become_columns_and_lesions_lines(results_tables):
    case = {"truth": "some_FLAIR", "slices": "4:4", "method": "a", "noise": "0.0", "box": "0", "judged_by": "b"}
    rows = [
        case | {"class": c, "dice": d, "volume_error": v} for c, d, v in (("1", "0.9", "-0.02"), ("2", "0.7", "0.1"))
    ]
    lines = results_tables.tissues_table(rows)
    assert lines[2] == "| some FLAIR | 4 mm | a | 0.900, -2.0 % | 0.700, +10.0 % | 0.800 |"
    with pytest.raises(ValueError, match="two rows"):
        results_tables.tissues_table([*rows, rows[0]])
    with pytest.raises(ValueError, match="differ in noise"):
        results_tables.tissues_table([*rows, rows[0] | {"method": "c", "box": "32"}])
    numbers = dict(zip(("contrast", "contrast_kept", "volume_kept", "erased", "invented"), "12345", strict=True))
    sizes = ("above 1 ml", "0.1 to 1 ml", "below 0.1 ml")
    lines = results_tables.lesions_table([case | {"size": size, "lesions": "3.0"} | numbers for size in sizes])
    assert [line.split(" | ")[2] for line in lines[2:]] == list(reversed(sizes))
    assert lines[4] == "| some FLAIR | 4 mm | above 1 ml | 3 | a | 1.00 | 2.00 | 3.00 | 4.00 | 5.00 |"


@pytest.fixture
def drawn(monkeypatch):
    """Label and points of every line of a figure."""
    lines, draw = [], Axes.plot

    def plot(panel, x, y, *style, **how):
        lines.append((how.get("label"), x, y))
        return draw(panel, x, y, *style, **how)

    monkeypatch.setattr(Axes, "plot", plot)
    return lines


def test_curves_are_those_of_slices_without_gaps(import_script, drawn):
    case = {"method": "FOCVS", "psnr_db": "20"}
    rows = [
        case | {"truth": truth, "slices": slices, "psnr_db": psnr}
        for truth in ("a", "b")
        for slices, psnr in (("6:6", "20"), ("4:5.2", "21"), ("3:3", "23"))
    ]
    import_script("results_figures").baselines_figure(rows)
    assert drawn == [("FOCVS", (3.0, 6.0), (23.0, 20.0))] * 2


def test_reliability_is_that_of_the_most_samples(import_script, drawn):
    case = {"slices": "4:4", "noise": "0.01"}
    rows = [
        case | {"truth": truth, "samples": samples, "before_0.5": "0.2", "before_0.9": "0.4"} | after
        for truth in ("a", "b")
        for samples, after in (
            ("2", {"after_0.5": "0", "after_0.9": "0"}),
            ("8", {"after_0.5": "0.5", "after_0.9": "0.9"}),
        )
    ]
    import_script("results_figures").reliability_figure(rows)
    before, after = (None, [0.5, 0.9], [0.2, 0.4]), ("4 mm, noise 1 %", [0.5, 0.9], [0.5, 0.9])
    assert drawn[1:3] == [before, after] and drawn[4:] == [before, after]


def test_every_picture_is_drawn_from_the_table_above_it(results_page, tmp_path, monkeypatch):
    for table in results_page.TABLES.glob("*.csv"):
        (tmp_path / table.name).write_bytes(table.read_bytes())
    monkeypatch.setattr(results_page, "PAGE", tmp_path / "results.md")
    monkeypatch.setattr(results_page, "TABLES", tmp_path)
    results_page.main()
    drawn = sorted(path.name for path in tmp_path.glob("*.png"))
    assert drawn == sorted(path.name for path in (results_page.ROOT / "docs" / "results").glob("*.png"))
    assert all(f"results/{name})" in (tmp_path / "results.md").read_text() for name in drawn)
