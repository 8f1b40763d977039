"""What the tools that people log with write is read back number by number, bit for bit."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwindle.logs import History, history, read

STEPS = [0, 1, 2, 10, 11, 500, 2**31 + 5]
VALUES = [0.1, 1 / 3, 2.5e-8, -1e30, math.inf, math.nan, 3.0]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def same(run: History, name: str, steps: Any, values: Any) -> None:
    np.testing.assert_array_equal(run.series[name].step, steps)
    np.testing.assert_array_equal(run.series[name].value, np.asarray(values, dtype=np.float64))


@pytest.mark.parametrize(("new_style", "double"), [(False, False), (True, False), (True, True)])
def test_summary_writer_of_torch(new_style: bool, double: bool, tmp_path: Path) -> None:
    writing = pytest.importorskip("torch.utils.tensorboard")
    with writing.SummaryWriter(str(tmp_path)) as writer:
        writer.add_text("notes", "a text", 0)
        writer.add_histogram("weights", np.arange(50.0), 0)
        writer.add_image("image", np.zeros((3, 8, 8), dtype=np.uint8), 0)
        for step, value in zip(STEPS, VALUES, strict=True):
            writer.add_scalar("train/loss", value, step, new_style=new_style, double_precision=double)
            writer.add_scalar("lr", abs(value), step)
    run = history(tmp_path)
    assert (run.format, run.unit, run.notes) == ("tensorboard", "step", ())
    assert run.roles == {"lr": "lr", "training loss": "train/loss"}
    same(run, "train/loss", STEPS, VALUES if double else np.float32(VALUES))
    same(run, "lr", STEPS, np.float32(np.abs(VALUES)))
    assert list(run.series) == ["train/loss", "lr"]


def test_add_scalars_and_restarts(tmp_path: Path) -> None:
    writing = pytest.importorskip("torch.utils.tensorboard")
    for i, steps in enumerate((range(0, 30, 10), range(20, 50, 10))):
        with writing.SummaryWriter(str(tmp_path), filename_suffix=f".{i}") as writer:
            for step in steps:
                writer.add_scalar("lr", step + i, step)
                writer.add_scalars("loss", {"train": 3.0 - step / 100, "val": 4.0 - step / 100}, step)
    run = history(tmp_path)
    same(run, "lr", [0, 10, 20, 20, 30, 40], [0, 10, 20, 21, 31, 41])
    assert run.roles == {"lr": "lr", "training loss": "loss_train", "validation loss": "loss_val"}


def test_event_file_writer_of_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(tmp_path))
    kinds = {
        "float": {"dtype": types_pb2.DT_FLOAT, "tensor_content": np.float32(0.1).tobytes()},
        "double": {"dtype": types_pb2.DT_DOUBLE, "double_val": [0.1]},
        "half": {"dtype": types_pb2.DT_HALF, "half_val": [int(np.float16(0.1).view(np.uint16))]},
        "bfloat16": {"dtype": types_pb2.DT_BFLOAT16, "half_val": [0x3DCD]},
        "int": {"dtype": types_pb2.DT_INT32, "int_val": [-7]},
        "int64": {"dtype": types_pb2.DT_INT64, "int64_val": [-(2**40)]},
        "uint64": {"dtype": types_pb2.DT_UINT64, "uint64_val": [2**50]},
        "vector": {"dtype": types_pb2.DT_FLOAT, "float_val": [1.0, 2.0]},
        "text": {"dtype": types_pb2.DT_STRING, "string_val": [b"12"]},
    }
    for tag, fields in kinds.items():
        tensor = tensor_pb2.TensorProto(**fields)
        if tag == "vector":
            tensor.tensor_shape.dim.add(size=2)
        value = summary_pb2.Summary.Value(tag=tag, tensor=tensor)
        writer.add_event(event_pb2.Event(wall_time=1.0, step=3, summary=summary_pb2.Summary(value=[value])))
    writer.close()
    run = history(next(tmp_path.iterdir()))
    want = {"float": float(np.float32(0.1)), "double": 0.1, "half": float(np.float16(0.1)), "bfloat16": 0.10009765625,
            "int": -7.0, "int64": -(2.0**40), "uint64": 2.0**50}  # fmt: skip
    assert {name: series.value.tolist() for name, series in run.series.items()} == {k: [v] for k, v in want.items()}


@pytest.mark.slow
def test_csv_logger_and_history_of_keras(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 3)).astype("float32"), rng.integers(0, 2, 64)
    model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rate = keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.1 / (epoch + 1))
    said = model.fit(
        x,
        y,
        validation_split=0.25,
        epochs=4,
        verbose=0,
        callbacks=[rate, keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))],
    ).history
    (tmp_path / "history.json").write_text(json.dumps({k: [float(v) for v in values] for k, values in said.items()}))
    roles = {"lr": "learning_rate", "training loss": "loss", "validation loss": "val_loss", "training accuracy": "accuracy",
             "validation accuracy": "val_accuracy"}  # fmt: skip
    for name, unit in (("log.csv", "epoch"), ("history.json", "row")):
        run = history(tmp_path / name)
        assert (run.unit, run.roles, run.notes) == (unit, roles, ())
        for column, values in said.items():
            same(run, column, range(4), [float(value) for value in values])


@pytest.mark.slow
def test_loggers_of_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    import torch
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    said: dict[str, list[tuple[int, float]]] = {"train_loss": [], "val_loss": []}

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def _told(self, name: str, batch: Any) -> Any:
            loss = (self.layer(batch[0]) ** 2).mean()
            self.log(name, loss)
            said[name].append((self.global_step, float(loss)))
            return loss

        def training_step(self, batch: Any, index: int) -> Any:
            return self._told("train_loss", batch)

        def validation_step(self, batch: Any, index: int) -> None:
            self._told("val_loss", batch)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5), "interval": "step"}]

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(12, 3)), batch_size=4)
    whole = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(12, 3)), batch_size=12)
    loggers = [CSVLogger(str(tmp_path / "csv")), TensorBoardLogger(str(tmp_path / "tb"))]
    lightning.Trainer(
        max_epochs=3, logger=loggers, callbacks=[LearningRateMonitor("step")], log_every_n_steps=1, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0,
    ).fit(Model(), data, whole)  # fmt: skip
    for kind in ("csv", "tb"):
        run = history(tmp_path / kind / "lightning_logs")
        assert run.unit == "step"
        assert {role: run.roles[role] for role in ("lr", "training loss", "validation loss")} == {
            "lr": "lr-SGD", "training loss": "train_loss", "validation loss": "val_loss",
        }  # fmt: skip
        same(run, "train_loss", [step for step, _ in said["train_loss"]], [loss for _, loss in said["train_loss"]])
        same(run, "val_loss", [step - 1 for step, _ in said["val_loss"]], [loss for _, loss in said["val_loss"]])
        rates = [0.1 * 0.5 ** (step // 3) for step in range(9)]
        same(run, "lr-SGD", range(9), rates if kind == "csv" else np.float32(rates))
        log = read(tmp_path / kind / "lightning_logs" / "version_0")
        assert log.columns == ("step", "lr-SGD", "val_loss")


@pytest.mark.slow
def test_trainer_state_of_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def forward(self, x: Any, labels: Any = None) -> Any:
            loss = ((self.layer(x) - labels) ** 2).mean()
            return {"loss": loss, "logits": self.layer(x)}

    rows = [{"x": torch.randn(3), "labels": torch.randn(1)} for _ in range(16)]
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=12, logging_steps=2, eval_strategy="steps", eval_steps=4, save_steps=4, report_to=[],
        use_cpu=True, per_device_train_batch_size=4, disable_tqdm=True, save_total_limit=2,
    )  # fmt: skip
    trainer = transformers.Trainer(Model(), arguments, train_dataset=rows, eval_dataset=rows[:4])
    trainer.train()
    trainer.save_state()
    said = trainer.state.log_history
    for place in (tmp_path, tmp_path / "trainer_state.json", tmp_path / "checkpoint-12"):
        run = history(place)
        assert (run.format, run.unit) == ("trainer_state", "step")
        for role, key in (
            ("training loss", "loss"),
            ("lr", "learning_rate"),
            ("gradient norm", "grad_norm"),
            ("validation loss", "eval_loss"),
        ):
            assert run.roles[role] == key
            given = [(row["step"], float(row[key])) for row in said if key in row and "train_runtime" not in row]
            same(run, key, [step for step, _ in given], [value for _, value in given])
    log = read(tmp_path)
    assert log.columns == ("step", "learning_rate", "eval_loss")
