"""The curve of a log."""

from pathlib import Path
from xml.etree import ElementTree

from siamedge.training.curve import draw_curve


def test_a_log_becomes_one_line_for_each_loss_that_the_run_had(tmp_path: Path) -> None:
    header = "pairs,total_pairs,loss,cls,box,quality,features,score,learning_rate,pairs_per_s"
    rows = [f"{n * 1600},4800,{1 / n},0.1,0.3,0.5,0,0,0.001,90" for n in (1, 2, 3)]
    (tmp_path / "log.csv").write_text("\n".join([header, *rows]) + "\n")
    draw_curve(tmp_path / "log.csv", tmp_path / "curve.svg")
    lines = ElementTree.parse(tmp_path / "curve.svg").getroot().findall("{*}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [3, 3, 3, 3]
