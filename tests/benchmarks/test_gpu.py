"""`benchmarks/gpu.py` runs where there is no GPU too, so that it is alive on the day there is one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.resident import PanelOnDevice

from benchmarks import gpu, roofline
from fusecast.model.config import ModelConfig

ROOT = Path(__file__).resolve().parents[2]


def test_a_tiny_run_on_the_cpu_gives_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gpu.json"
    assert gpu.main(["--tiny", "--device", "cpu", "--out", str(path)]) == 0
    record = json.loads(path.read_text(encoding="utf-8"))
    for kind in ("training", "training_from_panel", "training_by_trainer"):
        assert [row["windows_per_s"] > 0 for row in record[kind]] == [True]
    assert record["gathering"]["windows_per_s"] > 0
    assert record["gathering"]["rows"] == 10_000
    assert [row["batch"] for row in record["inference"]] == [1, 4]
    assert all(0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] for row in record["inference"])
    assert "the GPU's remain open" in capsys.readouterr().out


def test_it_runs_where_torch_and_numpy_are_all_there_is() -> None:
    absent = ("polars", "pyarrow", "pandas", "pydantic", "pytorch_lightning", "rich", "scipy", "yaml", "typer")
    code = f"import sys\nsys.modules.update(dict.fromkeys({absent}))\nfrom benchmarks.gpu import main\n"
    run = [sys.executable, "-c", code + "main(['--tiny', '--device', 'cpu'])"]
    done = subprocess.run(run, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "training from panel, 32, batch 8" in done.stdout
    assert "training by the trainer is not measured" in done.stdout


def test_windows_of_the_panel_fit_the_network_and_come_in_one_shape() -> None:
    options = gpu.parse(["--tiny", "--device", "cpu"])
    panel = PanelOnDevice(gpu.config_of(options), torch.device("cpu"), rows=options.rows, batch=options.batch)
    batches = panel.batches()
    first = next(batches)
    shapes = [tensor.shape for tensor in first]
    expected = gpu.example_batch(gpu.config_of(options), options.batch)
    # windows are scaled one by one, as they are unless told otherwise, so that errors have weights
    assert shapes == [tensor.shape for tensor in expected._replace(weight=expected.scale)]
    for _ in range(100):  # more than an epoch
        assert [tensor.shape for tensor in next(batches)] == shapes


@pytest.mark.parametrize(
    ("given", "mode"), [([], None), (["--compile"], "default"), (["--compile", "reduce-overhead"], "reduce-overhead")]
)
def test_it_compiles_as_it_is_told(given: list[str], mode: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []

    def compiled(network: torch.nn.Module, *, mode: str = "default") -> torch.nn.Module:
        modes.append(mode)
        return network

    marks: list[None] = []
    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(None))
    assert gpu.main(["--tiny", "--device", "cpu", *given]) == 0
    if mode is None:
        assert modes == []
    else:  # the trainer compiles in its own way
        assert modes == [mode, mode, "default", mode]
    assert bool(marks) == (mode == "reduce-overhead"), "graphs must be told where a step begins"


def test_the_published_network_is_counted_right_for_one_variable() -> None:
    d, L, H, Q = 4, 3, 2, 3
    config = ModelConfig(horizon=H, lookback=L, hidden_size=d, num_heads=2)
    grn = 4 * d * d
    selection = d + grn + (d * d + d * d + 2 * d + d)  # embedding, own GRN, joint GRN with its skip to one weight
    T = L + H
    attention = T * (2 * d * d + d * 2 + 2 * d) + T * T * (d + 2)
    total = L * selection + T * 8 * d * d + T * 6 * d * d + 2 * T * grn + attention + T * d * Q
    assert roofline.paper_flops(config) == 2 * total


def test_folding_saves_work_and_training_costs_three_forwards() -> None:
    config = ModelConfig(horizon=24, lookback=168, observed_reals=1, known_reals=3, hidden_size=128)
    forward, both = roofline.count(config, training=False), roofline.count(config, training=True)
    assert forward.flops < forward.paper_flops
    assert both.flops == 3 * forward.flops
    assert both.least_bytes > forward.least_bytes


def test_work_is_linear_in_the_lookback() -> None:
    def flops(lookback: int) -> float:
        return roofline.folded_flops(ModelConfig(horizon=24, lookback=lookback, hidden_size=64))

    assert flops(2_000) - flops(1_000) == pytest.approx(flops(1_000) - flops(0 + 1) + (flops(2) - flops(1)))


def test_the_slower_of_arithmetic_and_memory_is_the_roof() -> None:
    work = roofline.Work(flops=1e9, paper_flops=2e9, least_bytes=1e6)
    best = roofline.best_rate(work, "NVIDIA H100 80GB HBM3", half=True)
    assert best is not None
    assert best["windows_per_s"] == pytest.approx(min(989e12 / 1e9, 3.35e12 / 0.5e6))
    assert roofline.best_rate(work, "some card", half=True) is None
