"""The network on one device, in one call: training and inference at the shape of NVIDIA's published benchmark.

Hidden 128, 4 heads, 168 to 24 steps, batch 1,024 (NVIDIA states 17,608 training windows/s for its TFT on one A100 with
mixed precision). Training is measured on one batch that is there already, and on batches cut out of a synthetic panel
on the device, in the order and by the loader of training, in a bare loop and by the trainer itself. Needs torch, NumPy,
``fusecast.model`` and ``fusecast.windows`` alone, and Lightning for the trainer. Run as ``python -m benchmarks.gpu``;
without a GPU it says so and measures the CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import torch

from benchmarks.resident import SERIES, PanelOnDevice
from benchmarks.roofline import Work, best_rate, count
from benchmarks.trained import by_trainer
from fusecast.model.batch import Batch, Output, example_batch
from fusecast.model.config import ModelConfig
from fusecast.model.losses import quantile_loss
from fusecast.model.tft import TemporalFusionTransformer

NVIDIA_A100 = 17_608.0


def config_of(options: argparse.Namespace) -> ModelConfig:
    """The electricity shape: target and three known reals, one static category (370 customers)."""
    return ModelConfig(
        horizon=options.horizon,
        lookback=options.lookback,
        static_categories=(SERIES,),
        observed_reals=1,
        known_reals=3,
        hidden_size=options.hidden,
        num_heads=options.heads,
    )


def moved(batch: Batch, device: torch.device) -> Batch:
    """Put a batch on a device."""
    return Batch(*(tensor.to(device) for tensor in batch))


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def precision(device: torch.device, name: str) -> Iterator[None]:
    """Compute in float32 (TF32 where the card has it), bf16 or fp16."""
    if name == "32":
        yield
    else:
        with torch.autocast(device.type, dtype=torch.bfloat16 if name == "bf16" else torch.float16):
            yield


def timed(step: Callable[[], Any], device: torch.device, seconds: float) -> list[float]:
    """Time single calls, each to its end, for some seconds after a warm-up."""
    warm = time.perf_counter()
    for _ in range(3):
        step()
    synchronise(device)
    spent, laps = 0.0, []
    while spent < seconds or len(laps) < 3:
        began = time.perf_counter()
        step()
        synchronise(device)
        laps.append(time.perf_counter() - began)
        spent += laps[-1]
        if time.perf_counter() - warm > 10 * seconds + 60:
            break
    return laps


def throughput(step: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """Calls a second when they follow each other without waiting."""
    for _ in range(3):
        step()
    synchronise(device)
    calls, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds or not calls:
        for _ in range(5 if device.type == "cuda" else 1):
            step()
            calls += 1
        synchronise(device)
    return calls / (time.perf_counter() - began)


def ready(network: TemporalFusionTransformer, options: argparse.Namespace) -> Callable[[Batch], Output]:
    """The network, compiled where that is asked for; with CUDA graphs in the mode "reduce-overhead"."""
    if options.compile is None:
        return network
    compiled: Callable[[Batch], Output] = torch.compile(network, mode=options.compile)
    if options.compile == "default":
        return compiled

    def forward(batch: Batch) -> Output:
        torch.compiler.cudagraph_mark_step_begin()  # what the step before gave may be written over
        return compiled(batch)

    return forward


def training(
    config: ModelConfig,
    device: torch.device,
    options: argparse.Namespace,
    name: str,
    panel: PanelOnDevice | None = None,
) -> dict[str, Any]:
    """Windows a second of whole training steps: (gathering,) forward, loss, backward, clipping, AdamW."""
    torch.manual_seed(0)
    network = TemporalFusionTransformer(config).to(device).train()
    batches = repeat(moved(example_batch(config, options.batch), device)) if panel is None else panel.batches()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=device.type == "cuda")
    scaler = torch.amp.GradScaler(device.type, enabled=name == "16")
    forward = ready(network, options)

    def step() -> None:
        batch = next(batches)
        optimizer.zero_grad(set_to_none=True)
        with precision(device, name):
            quantiles = forward(batch).quantiles
            loss = quantile_loss(quantiles, batch.target, batch.target_mask, config.quantiles, batch.weight)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    rate = throughput(step, device, options.seconds) * options.batch
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return {"precision": name, "batch": options.batch, "windows_per_s": rate, "peak_device_mb": peak}


def gathering(panel: PanelOnDevice, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """Windows a second of gathering alone, and what the panel takes."""
    batches = panel.batches()
    rate = throughput(lambda: next(batches), device, options.seconds) * options.batch
    size = {"rows": options.rows, "windows": panel.windows, "panel_mb": panel.megabytes, "upload_s": panel.upload_s}
    return {"batch": options.batch, "windows_per_s": rate, **size}


def inference(
    config: ModelConfig, device: torch.device, options: argparse.Namespace, name: str
) -> list[dict[str, Any]]:
    """Latency of one batch, from call to result, and the throughput of batches that follow each other."""
    torch.manual_seed(0)
    network = TemporalFusionTransformer(config).to(device).eval()
    forward = ready(network, options)
    rows = []
    for size in options.batches:
        batch = moved(example_batch(config, size), device)

        def step(batch: Batch = batch) -> None:
            with torch.inference_mode(), precision(device, name):
                forward(batch)

        laps = timed(step, device, options.seconds)
        cuts = statistics.quantiles(laps, n=100, method="inclusive") if len(laps) > 1 else laps * 99
        rows.append(
            {
                "precision": name,
                "batch": size,
                "windows_per_s": throughput(step, device, options.seconds) * size,
                **{f"p{share}_ms": 1e3 * cuts[share - 1] for share in (50, 90, 99)},
                "calls": len(laps),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the figures with the roofline beside them, and write JSON where asked."""
    options = parse(arguments)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    else:
        print("no GPU is used: these are figures of the CPU, and the GPU's remain open")
    config = config_of(options)
    record: dict[str, Any] = {"device": name, "torch": torch.__version__, "shape": config.to_dict()}
    work = {kind: count(config, training=kind == "training") for kind in ("training", "inference")}
    record["work"] = {kind: w.to_dict() for kind, w in work.items()}
    for kind, w in work.items():
        print(
            f"{kind}: {w.flops / 1e6:,.1f} MFLOP a window ({w.paper_flops / 1e6:,.1f} as published), "
            f"{w.least_bytes / 1e6:,.2f} MB moved at least; {_on_h100(w)}"
        )

    panel = PanelOnDevice(config, device, rows=options.rows, batch=options.batch)
    record["gathering"] = alone = gathering(panel, device, options)
    print(
        f"gathering, batch {alone['batch']}: {alone['windows_per_s']:,.0f} windows/s out of {options.rows:,} rows, "
        f"which take {alone['panel_mb']:,.0f} MiB and {alone['upload_s']:.2f} s to send"
    )
    record["inference"] = []
    for precision_name in options.precisions:
        rows = {
            "training": training(config, device, options, precision_name),
            "training_from_panel": training(config, device, options, precision_name, panel),
            "training_by_trainer": by_trainer(config, device, options, precision_name, panel),
        }
        for kind, row in rows.items():
            if row is None:
                continue
            row["roofline"] = best_rate(work["training"], name, half=precision_name != "32")
            record.setdefault(kind, []).append(row)
            what = f"{kind.replace('_', ' ')}, {precision_name}, batch {row['batch']}"
            print(f"{what}: {row['windows_per_s']:,.0f} windows/s" + _beside(row))
        for line in inference(config, device, options, precision_name):
            line["roofline"] = best_rate(work["inference"], name, half=precision_name != "32")
            record["inference"].append(line)
            print(
                f"inference, {precision_name}, batch {line['batch']}: {line['windows_per_s']:,.0f} windows/s, "
                f"p50 {line['p50_ms']:.2f} ms, p90 {line['p90_ms']:.2f} ms, p99 {line['p99_ms']:.2f} ms" + _beside(line)
            )
    if device.type == "cuda" and (options.hidden, options.lookback, options.horizon) == (128, 168, 24):
        best = max(row["windows_per_s"] for row in record["training"])
        print(f"NVIDIA states {NVIDIA_A100:,.0f} on one A100: this is {best / NVIDIA_A100:.2f} of it")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _on_h100(work: Work) -> str:
    best = best_rate(work, "H100", half=True)
    assert best is not None
    return (
        f"one H100 in bf16 could do {best['by_flops']:,.0f} windows/s by arithmetic, {best['by_bytes']:,.0f} by memory"
    )


def _beside(row: dict[str, Any]) -> str:
    best = row["roofline"]
    if best is None:
        return ""
    share = row["windows_per_s"] / best["windows_per_s"]
    limit = "memory" if best["by_bytes"] < best["by_flops"] else "arithmetic"
    return f" (roofline {best['windows_per_s']:,.0f}, by {limit}: {share:.1%} of it)"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Speed of the network on a device.")
    parser.add_argument("--device", default=None, help="cuda, cuda:1, cpu; the GPU where there is one")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--lookback", type=int, default=168)
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--batch", type=int, default=1_024, help="windows a training step")
    parser.add_argument("--batches", default="1,4,16,64,256,1024,4096", help="windows an inference call")
    parser.add_argument("--precisions", default=None, help="of 32, bf16, 16; on a GPU 32 and bf16, else 32")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each figure is measured")
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the panel on the device")
    modes = ("default", "reduce-overhead", "max-autotune")
    parser.add_argument(
        "--compile",
        nargs="?",
        const="default",
        choices=modes,
        help="measure under torch.compile, in a mode: reduce-overhead is with CUDA graphs",
    )
    parser.add_argument("--tiny", action="store_true", help="a size at which figures mean nothing, for tests")
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    options = parser.parse_args(arguments)
    if options.tiny:
        options.hidden, options.heads, options.lookback, options.horizon = 8, 2, 12, 4
        options.batch, options.batches, options.seconds, options.rows = 8, "1,4", 0.01, 10_000
    options.batches = [int(size) for size in options.batches.split(",")]
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    options.precisions = (options.precisions or ("32,bf16" if on_gpu else "32")).split(",")
    return options


if __name__ == "__main__":
    sys.exit(main())
