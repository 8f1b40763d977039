"""Everything after ``backward()``: torch's passes beside `dwindle.torch.SGD` and `AdamW`, and beside what memory allows.

    python benchmarks/optimizers.py [--cases mlp,1e6] [--rounds 25] [--compile] [--plot FILE.png] [--quick] [--json FILE]
    python benchmarks/optimizers.py --busy       the same beside a process that holds the second core

Measured is what stands between two backward passes: clip_grad_norm_, step, CosineAnnealingLR, AveragedModel with
get_ema_multi_avg_fn, the norms of gradients and weights, zero_grad in place. ``fused``, ``foreach``, ``default`` are the
time of torch's pipeline with that optimiser over ours; ``bare`` is fused over ours for the step alone, where ours has its
schedule as well. Shapes of ResNet-50 (161 tensors) and of a GPT-2 of width 512 (148); an MLP 784-100-10; one tensor of n.

All in one process. A run is a block of steps of about 3 ms, or one step that takes longer; a round is one run of each, in an
order drawn anew; figures are medians over rounds, those of ratios of the ratios within a round, since the memory's speed
drifts. Gradients are filled before a run, which is not timed, so that momenta do not become subnormal. The roof is a
multiplication in place of one array as large as the working set; ``attained`` is our share of its bytes a second, counting
the least traffic: the first pass reads g; the second reads g and reads and writes w, the states and the average, and writes
g. A working set that fits a cache is not about memory, so there the share says little.

With --busy every step is timed by itself, quiet and beside the process, and the optimisers are made anew for each.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from surroundings import begin, command, save
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import dwindle as dw

Shapes = list[tuple[int, ...]]
HORIZON, CLIP, EMA, LR = 10**6, 1.0, 0.999, 1e-3
BLOCK, BUDGET, COMPILE_LIMIT = 3e-3, 2.0, 60.0  # seconds: of a run; of a case that has its rounds; of a compilation
STATES = {"SGD": 1, "AdamW": 2}
TORCH: dict[str, tuple[Any, dict[str, Any]]] = {
    "SGD": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 1e-4}),
    "AdamW": (torch.optim.AdamW, {"weight_decay": 0.1}),
}
OURS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "SGD": (dw.torch.SGD, {"momentum": 0.9}, dw.l2(1e-4)),
    "AdamW": (dw.torch.AdamW, {}, dw.decoupled(0.1)),
}
RIVALS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "default": {}}
SPINNING = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


def resnet50() -> Shapes:
    """Return the shapes of ResNet-50's parameters, in order."""
    shapes: Shapes = [(64, 3, 7, 7), (64,), (64,)]
    wide = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            convolutions = [(width, wide, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            convolutions += [(4 * width, wide, 1, 1)] if block == 0 else []
            for shape in convolutions:
                shapes += [shape, shape[:1], shape[:1]]
            wide = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


def gpt2(width: int = 512, words: int = 16384, context: int = 1024) -> Shapes:
    """Return the shapes of a GPT-2 of 12 layers."""
    layer = [(width,), (width,), (width, 3 * width), (3 * width,), (width, width), (width,)]
    layer += [(width,), (width,), (width, 4 * width), (4 * width,), (4 * width, width), (width,)]
    return [(words, width), (context, width), *(12 * layer), (width,), (width,)]


CASES: dict[str, Callable[[], Shapes]] = {
    "1e4": lambda: [(10**4,)],
    "mlp": lambda: [(100, 784), (100,), (10, 100), (10,)],
    "1e5": lambda: [(10**5,)],
    "1e6": lambda: [(10**6,)],
    "1e7": lambda: [(10**7,)],
    "resnet50": resnet50,
    "gpt2": gpt2,
    "5e7": lambda: [(5 * 10**7,)],
}
BUSY = ["mlp", "1e6", "resnet50"]


class Weights(torch.nn.Module):
    def __init__(self, values: list[Any]) -> None:
        super().__init__()
        self.of = torch.nn.ParameterList([torch.nn.Parameter(value.clone()) for value in values])


@dataclass
class Contender:
    """What is timed: a step, the parameters whose gradients it takes, and the averages it makes."""

    step: Callable[[], Any]
    params: list[Any] = field(default_factory=list)
    averages: Callable[[], list[Any]] = list
    block: int = 1

    def fill(self, grads: list[Any]) -> None:
        for p, grad in zip(self.params, grads, strict=False):
            p.grad.copy_(grad)

    def run(self) -> np.ndarray:
        """Return the seconds of each step of a block."""
        stamps = [time.perf_counter()]
        for _ in range(self.block):
            self.step()
            stamps.append(time.perf_counter())
        return np.diff(stamps)


def parameters(model: Weights) -> list[Any]:
    params = list(model.parameters())
    for p in params:
        p.grad = torch.zeros_like(p)
    return params


def torch_pipeline(rule: str, values: list[Any], options: dict[str, Any], compiled: bool = False) -> Contender:
    model = Weights(values)
    params = parameters(model)
    kind, settings = TORCH[rule]
    optimizer = kind(params, lr=torch.tensor(LR) if compiled else LR, **settings, **options)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, HORIZON)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA))
    foreach = options.get("foreach")
    weights = [p.detach() for p in params]
    update = torch.compile(lambda: optimizer.step()) if compiled else optimizer.step

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(params, CLIP, foreach=foreach)
        update()
        scheduler.step()
        average.update_parameters(model)
        torch.nn.utils.get_total_norm(weights, foreach=foreach)
        optimizer.zero_grad(set_to_none=False)

    return Contender(step, params, lambda: list(average.module.parameters()))


def torch_step(rule: str, values: list[Any]) -> Contender:
    params = parameters(Weights(values))
    kind, settings = TORCH[rule]
    return Contender(kind(params, lr=LR, **settings, fused=True).step, params)


def ours(rule: str, values: list[Any], **beside: Any) -> Contender:
    model = Weights(values)
    params = parameters(model)
    kind, options, decay = OURS[rule]
    plan = dw.Plan(LR, dw.cosine(), decay, dw.Mask.everything())
    optimizer = kind(model.named_parameters(), plan, HORIZON, compensated=False, **options, **beside)
    return Contender(optimizer.step, params, lambda: list(optimizer.averages().values()))


def our_pipeline(rule: str, values: list[Any]) -> Contender:
    return ours(rule, values, clip=CLIP, ema=EMA, norms=True, zero=True)


def roof(rule: str, size: int) -> Contender:
    """Return the multiplication in place of an array as large as what a step works on: w, g, the states, the average."""
    array = torch.ones(size * (3 + STATES[rule]))
    return Contender(lambda: array.mul_(1.0))


def traffic(rule: str, size: int) -> int:
    """Return the fewest bytes of the pipeline: 36 a weight for SGD, 44 for AdamW."""
    first, second = 4, 8 * (3 + STATES[rule])
    return (first + second) * size


def drawn(shapes: Shapes, seed: int, scale: float, dtype: torch.dtype = torch.float32) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


class TooLongError(BaseException):  # no Exception: the compiler would take it for a failure of its own and go on
    """A compilation ran into its limit."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def compiled(rule: str, values: list[Any], grads: list[Any]) -> Contender | None:
    """Return torch's pipeline with a compiled step; None if compiling takes too long."""
    import torch._inductor.config

    torch._inductor.config.compile_threads = 1  # what is cut off leaves nothing running
    torch._dynamo.reset()
    contender = torch_pipeline(rule, values, {}, compiled=True)
    contender.fill(grads)
    try:
        with limited(COMPILE_LIMIT):
            for _ in range(3):
                contender.step()
    except TooLongError:
        torch._dynamo.reset()
        return None
    return contender


def contenders(rule: str, shapes: Shapes, grads: list[Any], with_compiled: bool) -> dict[str, Contender]:
    values, size = drawn(shapes, 0, 0.02), sum(map(prod, shapes))
    found = {"ours": our_pipeline(rule, values)}
    found |= {name: torch_pipeline(rule, values, options) for name, options in RIVALS.items()}
    found |= {"bare ours": ours(rule, values), "bare fused": torch_step(rule, values), "roof": roof(rule, size)}
    step = compiled(rule, values, grads) if with_compiled else None
    return found | ({} if step is None else {"compile": step})


def warm(found: dict[str, Contender], grads: list[Any]) -> None:
    """Take the first steps, which make states and compile, and set how many steps take about 3 ms."""
    for each in found.values():
        each.fill(grads)
        for _ in range(3):
            each.step()
        each.block = 3
        each.block = max(1, round(BLOCK / np.median(each.run())))


def alternating(found: dict[str, Contender], grads: list[Any], rounds: int) -> dict[str, list[np.ndarray]]:
    """Return the seconds of every step, run by run: ``rounds`` rounds, and more while they are short."""
    warm(found, grads)
    times: dict[str, list[np.ndarray]] = {name: [] for name in found}
    order, generator, begun, done = list(found), random.Random(0), time.perf_counter(), 0
    gc.collect()
    gc.disable()
    while done < rounds or time.perf_counter() - begun < BUDGET:
        generator.shuffle(order)
        for name in order:
            found[name].fill(grads)
            times[name].append(found[name].run())
        done += 1
    gc.enable()
    return times


def measured(case: str, rule: str, rounds: int, with_compiled: bool) -> dict[str, Any]:
    shapes = CASES[case]()
    size, grads = sum(map(prod, shapes)), drawn(shapes, 1, 0.01)
    found = contenders(rule, shapes, grads, with_compiled)
    each = {name: np.array([run.mean() for run in runs]) for name, runs in alternating(found, grads, rounds).items()}
    ours, most = each["ours"], 8 * (3 + STATES[rule]) * size / each["roof"]
    return {
        "case": case,
        "rule": rule,
        "parameters": size,
        "tensors": len(shapes),
        "rounds": len(ours),
        "microseconds": {name: 1e6 * middle(seconds) for name, seconds in each.items()},
        "ours_10_90": [1e6 * float(v) for v in np.quantile(ours, [0.1, 0.9])],
        "ratio": {name: middle(each[name] / ours) for name in (*RIVALS, "compile") if name in each},
        "bare_ratio": middle(each["bare fused"] / each["bare ours"]),
        "roof_bytes_per_second": middle(most),
        "attained": middle(traffic(rule, size) / ours / most),
    }


def middle(values: np.ndarray) -> float:
    return float(np.median(values))


def errors(case: str, rule: str) -> dict[str, Any]:
    """Return ‖w - w₆₄‖/‖w₆₄‖ after 100 steps with clip, cosine and average, and the same of the average."""
    shapes = CASES[case]()
    values = drawn(shapes, 0, 0.02)
    runs = {"ours": our_pipeline(rule, values)}
    runs |= {name: torch_pipeline(rule, values, RIVALS[name]) for name in ("fused", "default")}
    runs["exact"] = torch_pipeline(rule, [value.double() for value in values], {})
    for step in range(100):
        grads = drawn(shapes, 2 + step, 0.01)
        for each in runs.values():
            each.fill(grads)
            each.step()
    exact = runs.pop("exact")
    found: dict[str, Any] = {"case": case, "rule": rule}
    found["weights"] = {name: relative(each.params, exact.params) for name, each in runs.items()}
    found["average"] = {name: relative(each.averages(), exact.averages()) for name, each in runs.items()}
    return found


@torch.no_grad()
def relative(found: list[Any], exact: list[Any]) -> float:
    wrong = sum(float((a.double() - b).square().sum()) for a, b in zip(found, exact, strict=True))
    return float((wrong / sum(float(b.square().sum()) for b in exact)) ** 0.5)


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep the second core of this process's own busy."""
    core = sorted(os.sched_getaffinity(0))[1]
    process = subprocess.Popen([sys.executable, "-c", SPINNING, str(core)])
    try:
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def beside(case: str, rule: str, rounds: int) -> dict[str, Any]:
    """Return the steps of ours and of torch fused in microseconds, quiet and beside a busy core."""
    shapes = CASES[case]()
    grads, out = drawn(shapes, 1, 0.01), {"case": case, "rule": rule}
    for name in ("quiet", "busy"):
        values = drawn(shapes, 0, 0.02)
        found = {"ours": our_pipeline(rule, values), "fused": torch_pipeline(rule, values, RIVALS["fused"])}
        if name == "quiet":
            times = alternating(found, grads, rounds)
        else:
            with busy_core():
                times = alternating(found, grads, rounds)
        out[name] = {who: spread(np.concatenate(runs)) for who, runs in times.items()}
    quiet = {who: figures["median"] for who, figures in out["quiet"].items()}
    out["over_quiet"] = {who: {w: v / quiet[who] for w, v in busy.items()} for who, busy in out["busy"].items()}
    return out


def spread(seconds: np.ndarray) -> dict[str, float]:
    median, p95 = np.quantile(seconds, [0.5, 0.95])
    return {"median": 1e6 * float(median), "p95": 1e6 * float(p95), "mean": 1e6 * float(np.mean(seconds))}


def compared(cases: list[str], rounds: int, with_compiled: bool) -> list[dict[str, Any]]:
    head = f"{'case':9}{'rule':6}{'ours, µs':>9}{'10-90 %':>16}{'fused':>7}{'foreach':>8}{'default':>8}{'compile':>8}"
    print(f"{head}{'bare':>8}{'roof, GB/s':>12}{'attained':>10}")
    rows = []
    for case in cases:
        for rule in TORCH:
            rows.append(row := measured(case, rule, rounds, with_compiled))
            low, high = row["ours_10_90"]
            line = f"{case:9}{rule:6}{row['microseconds']['ours']:>9.0f}{f'{low:.0f}-{high:.0f}':>16}"
            for name, width in (("fused", 7), ("foreach", 8), ("default", 8), ("compile", 8)):
                line += f"{row['ratio'][name]:>{width}.1f}" if name in row["ratio"] else f"{'-':>{width}}"
            roof_speed = row["roof_bytes_per_second"] / 1e9
            print(f"{line}{row['bare_ratio']:>8.2f}{roof_speed:>12.0f}{row['attained']:>10.0%}", flush=True)
    left = [f"{row['case']} {row['rule']}" for row in rows if "compile" not in row["ratio"]]
    if with_compiled and left:
        print(f"compile left out, above {COMPILE_LIMIT:.0f} s: {', '.join(left)}")
    return rows


def compared_to_exact(cases: list[str]) -> list[dict[str, Any]]:
    print(f"\n{'error after 100 steps':25}{'weights':^27}{'average':^27}")
    print(f"{'to float64, relative':25}" + 2 * "".join(f"{name:>9}" for name in ("ours", "fused", "default")))
    rows = []
    for case in cases:
        for rule in TORCH:
            rows.append(row := errors(case, rule))
            cells = [value for what in ("weights", "average") for value in row[what].values()]
            print(f"{case:9}{rule:16}" + "".join(f"{value:>9.1e}" for value in cells), flush=True)
    return rows


def compared_beside(cases: list[str], rounds: int) -> list[dict[str, Any]]:
    print(f"{'':21}{'quiet, µs':>10}{'busy second core, µs':>31}{'over the quiet median':>30}")
    print(f"{'case':9}{'rule':6}{'':6}{'median':>10}" + "".join(f"{w:>10}" for w in 2 * ("median", "p95", "mean")))
    rows = []
    for case in cases:
        for rule in TORCH:
            rows.append(row := beside(case, rule, rounds))
            for who, quiet in row["quiet"].items():
                busy = list(row["busy"][who].values())
                line = f"{case:9}{rule:6}{who:6}{quiet['median']:>10.0f}" + "".join(f"{v:>10.0f}" for v in busy)
                print(line + "".join(f"{v:>9.1f}×" for v in row["over_quiet"][who].values()), flush=True)
    return rows


def plot(rows: list[dict[str, Any]], path: str) -> None:
    """Draw the ratios of each case, a panel for each rule; the colours are told apart by any eye."""
    from matplotlib.figure import Figure

    colours = {"fused": "#0072b2", "foreach": "#009e73", "default": "#e69f00"}  # Okabe and Ito
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure = Figure(figsize=(10, 0.6 * len(cases) + 1.6), layout="constrained", facecolor="white")
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for panel, rule in zip(panels, TORCH, strict=True):
        found = {row["case"]: row["ratio"] for row in rows if row["rule"] == rule}
        for i, (name, colour) in enumerate(colours.items()):
            lengths, places = [found[case][name] for case in cases], [k + 0.27 * (i - 1) for k in range(len(cases))]
            bars = panel.barh(places, [v - 1 for v in lengths], 0.25, left=1.0, color=colour, label=name)
            panel.bar_label(bars, [f"{v:.1f}×" for v in lengths], padding=2, fontsize=8)
        decorate(panel, rule, cases, max(max(r["ratio"][n] for n in colours) for r in rows))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, [f"torch {name}" for name in labels], ncols=3, frameon=False, loc="outside lower center")
    figure.suptitle("Clipping, step, schedule, average, norms, zeroing: torch's time over ours")
    figure.savefig(path, dpi=150)


def decorate(panel: Any, rule: str, cases: list[str], most: float) -> None:
    panel.set_xscale("log")
    ticks = [1, 2, 5, 10, 20, 50, 100]
    panel.set_xticks(ticks, [f"{t}×" for t in ticks])
    panel.set_xticks([], minor=True)
    panel.set_xlim(0.8, 1.6 * most)
    panel.axvline(1.0, color="#444444", linewidth=1)
    panel.set_yticks(range(len(cases)), cases)
    if not panel.yaxis_inverted():
        panel.invert_yaxis()
    panel.set_title(rule)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def arguments() -> argparse.Namespace:
    parser = command(__doc__)
    parser.add_argument("--cases", help=f"of {', '.join(CASES)}, with commas between")
    parser.add_argument("--rounds", type=int, help="at least (11); short ones go on for two seconds a case")
    parser.add_argument("--compile", action="store_true", help="torch.compile of the step too, where it takes < 60 s")
    parser.add_argument("--busy", action="store_true", help="ours and fused beside a process on the second core")
    parser.add_argument("--plot", metavar="FILE.png")
    given = parser.parse_args()
    usual = ["mlp"] if given.quick else BUSY if given.busy else list(CASES)
    given.cases = given.cases.split(",") if given.cases else usual
    given.rounds = given.rounds or (1 if given.quick else 11)
    if unknown := [case for case in given.cases if case not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}.")
    if given.busy and len(os.sched_getaffinity(0)) < 2:
        parser.error("--busy needs a second core.")
    return given


def main() -> None:
    given, around, out = arguments(), begin(), {}
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if given.busy:
        out["busy"] = compared_beside(given.cases, given.rounds)
    else:
        out["pipeline"] = compared(given.cases, given.rounds, given.compile)
        out["errors"] = compared_to_exact([c for c in given.cases if sum(map(prod, CASES[c]())) <= 10**6])
    save(given.json, around, **out)
    if given.plot and not given.busy:
        plot(out["pipeline"], given.plot)


if __name__ == "__main__":
    main()
