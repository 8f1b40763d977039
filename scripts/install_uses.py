"""One small use of an installed dwindle for each of its extras, and what it says where they are missing.

`check_install.py` runs ``python -I install_uses.py NAME`` in an environment that has the wheel and that extra alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dwindle as dw

TEXT = "peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1"
SPACE = ["--space", "lam 0 1 | peak 1e-3 1e-2 | schedule constant; cosine to 0 | decoupled"]
SMALL = ["--seeds", "2", "--hidden", "6", "--epochs", "1", "--quiet"]
PLAN, RUN = dw.parse(TEXT), 1000


def command(*words: str, code: int = 0) -> str:
    """Run the installed ``dwindle`` and return what it said; its exit code must be ``code``, and no traceback in it."""
    program = str(Path(sys.executable).with_name("dwindle.exe" if os.name == "nt" else "dwindle"))
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, f"dwindle {' '.join(words)}: exit {done.returncode}: {done.stderr[-500:]}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def bare() -> None:
    assert "site-packages" in str(dw.__file__)
    lrs = PLAN.lrs(RUN)
    assert lrs.shape == (RUN,)
    np.testing.assert_allclose(lrs[[20, 999]], [3e-4, 3e-5], rtol=1e-4)
    assert dw.parse(str(PLAN)) == PLAN
    assert command("--version").strip() == dw.__version__
    assert "3e-4" in command("show", TEXT)
    assert "--sampler" in command("study", "--help")
    assert "AdamW" in command("convert", TEXT, "--to", "torch", "--steps", "1000")
    command("study", *SPACE, *SMALL, "--out", "out")
    assert Path("out/report.html").stat().st_size > 10_000
    command("lab", "--save", "lab.html")


def missing() -> None:
    """Ask for each extra where none is installed: an error that says what to install, and no traceback."""
    Path("a.yaml").write_text("lr: 0.1\n")
    Path("a.parquet").write_bytes(b"PAR1")

    def plot() -> Any:
        return forecast().plot()

    asked: dict[str, Callable[[], Any]] = {
        "torch": lambda: dw.torch,
        "jax": lambda: dw.jax,
        "keras": lambda: dw.keras,
        "fast": lambda: dw.population.engine_for(dw.population.MLP((4, 3, 2)), 8, "native"),
        "plot": plot,
    }
    for extra, ask in asked.items():
        said = ""
        try:
            ask()
        except dw.errors.MissingExtraError as error:
            said = str(error)
        assert f"dwindle[{extra}]" in said, f"{extra} is missing, and it says {said!r}"
    shown = {
        "parquet": ("study", "a.parquet", "--target", "a"),
        "optuna": ("study", *SPACE, "--sampler", "tpe"),
        "ray": ("study", *SPACE, "--ray", "local"),
        "yaml": ("check", "a.yaml"),
        "lab": ("lab",),
    }
    for extra, words in shown.items():
        said = command(*words, code=2)
        assert f"dwindle[{extra}]" in said, said
        assert len(said.strip().splitlines()) == 1, said


def forecast() -> Any:
    step = np.arange(1, 41) * 250
    law = dw.laws.fit(dw.laws.Run(lr=np.full(10_000, 1e-3), step=step, loss=2.0 + (step / 1000.0) ** -0.5))
    return law.predict(np.full(20_000, 1e-3), at=[10_000, 20_000])


def fast() -> None:
    from dwindle.population import MLP, SGD, Data, Examples, Rates, train

    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(64, 4)).astype(np.float32), draw.integers(2, size=64)
    some = Examples(x, y)
    result = train(
        MLP((4, 8, 2)), SGD(), Rates(np.full((3, 20), 0.1)), Data(some, some, some), seeds=[0, 1, 2], batch_size=8,
        evaluate_every=10, engine="native", folder="kept",
    )  # fmt: skip
    assert result.engine == "native"
    assert np.isfinite(result.test_loss).all()


def torch() -> None:
    import torch

    model = torch.nn.Linear(4, 2)
    optimiser = torch.optim.AdamW(model.named_parameters())
    control = dw.torch.attach(optimiser, PLAN, RUN)
    onepass = dw.torch.AdamW(torch.nn.Linear(4, 2).named_parameters(), PLAN, RUN, clip=1.0)
    for each, at in ((optimiser, model(torch.ones(3, 4)).sum()), (onepass, None)):
        if at is None:
            for group in each.param_groups:
                for weight in group["params"]:
                    weight.grad = torch.ones_like(weight)
        else:
            at.backward()
        each.step()
        each.zero_grad()
    assert "weight" in str(control.report())


def jax() -> None:
    import jax.numpy as jnp

    weights = {"w": jnp.ones((4, 2)), "b": jnp.zeros(2)}
    change = dw.jax.adamw(PLAN, RUN)
    updates, _ = change.update(weights, change.init(weights), weights)
    assert bool(jnp.isfinite(updates["w"]).all())


def keras() -> None:
    """Keras alone brings no backend, and even its NumPy one imports JAX: what is missing must be said."""
    for backend in ("jax", "torch", "tensorflow"):
        ask = f"import os; os.environ['KERAS_BACKEND'] = {backend!r}; import dwindle as dw; dw.keras"
        done = subprocess.run([sys.executable, "-I", "-c", ask], capture_output=True, text=True, timeout=300)
        last = done.stderr.strip().splitlines()[-1]
        assert "MissingExtraError: keras is installed but its backend is not" in last, last
        assert "Set KERAS_BACKEND" in last, last


def keras_on_jax() -> None:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    net = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    net.compile(dw.keras.attach(keras.optimizers.Adam(), PLAN, RUN), "mse")
    net.fit(np.ones((16, 4)), np.zeros((16, 2)), epochs=1, verbose=0)


def plot() -> None:
    axes = forecast().plot()
    axes.figure.savefig("forecast.png")
    assert Path("forecast.png").stat().st_size > 1000


def parquet() -> None:
    import pyarrow
    from pyarrow import parquet

    draw = np.random.default_rng(0)
    table = {"a": draw.normal(size=60), "b": draw.normal(size=60), "kind": ["x", "y"] * 30}
    parquet.write_table(pyarrow.table(table), "a.parquet")
    command("study", "a.parquet", "--target", "kind", *SPACE, *SMALL, "--out", "out")


def optuna() -> None:
    for name in ("tpe", "cma-es"):
        space = "lam 0.1..1 | peak 1e-3..1e-2 | schedule cosine to 0 | decoupled"
        command("study", "--space", space, "--sampler", name, "--trials", "6", *SMALL, "--out", name)


def ray() -> None:
    command("study", *SPACE, "--ray", "local", *SMALL, "--out", "out")


def yaml() -> None:
    Path("config.yaml").write_text("optimizer: adamw\nlr: 1e-3\nweight_decay: 0.1\nmax_steps: 1000\nwarmup_steps: 20\n")
    found = command("check", "config.yaml", "--json")
    assert json.loads(found), found


def lab() -> None:
    program = [sys.executable, "-I", "-m", "dwindle", "lab", "--port", "0"]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as on:
        try:
            assert on.stdout is not None
            address = on.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address), address
            with urllib.request.urlopen(address, timeout=30) as answer:  # it hears this machine alone
                page = answer.read().decode()
            assert "dwindle" in page
            token = re.search(r"[0-9a-f]{96}", page)
            assert token is not None
            headers = {"Content-Type": "application/json", "X-Dwindle-Token": token.group()}
            asked = json.dumps({"plan": TEXT, "steps": RUN}).encode()
            question = urllib.request.Request(f"{address}api/plan", asked, headers)
            with urllib.request.urlopen(question, timeout=60) as answer:
                assert json.loads(answer.read())["lr"]
        finally:
            on.terminate()


USES = {
    each.__name__: each
    for each in (bare, missing, fast, torch, jax, keras, keras_on_jax, plot, parquet, optuna, ray, yaml, lab)
}

if __name__ == "__main__":
    USES[sys.argv[1]]()
