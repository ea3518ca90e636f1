"""An interrupted training goes on as if it had not been interrupted, and no file is ever half written."""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import torch
from conftest import warm_programs
from ignite.metrics import Accuracy
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler, from_engine
from monai.inferers import SimpleInferer
from monai.transforms import Compose, RandFlipd, RandGaussianNoised
from torch import nn
from torch.optim.lr_scheduler import ChainedScheduler, ConstantLR, CosineAnnealingLR, SequentialLR

from monai_ima.handlers import BestWeights, IMAHandler, Resumable
from monai_ima.utils.files import whole_file

EPOCHS = 4


class Run:
    """A training with everything random: shuffling, augmentation, dropout, a schedule, validation with a best score."""

    def __init__(
        self, folder: Path, epochs: int = EPOCHS, schedule: str = "cosine", scores=None, workers: int = 0, **settings
    ) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2))
        generator = torch.Generator().manual_seed(1)
        images = torch.rand(12, 1, 4, 4, generator=generator)
        items = [{"image": x, "label": int(x[0, 0].mean() > 0.5), "sample_id": str(k)} for k, x in enumerate(images)]
        augment = Compose([RandFlipd("image", prob=0.5), RandGaussianNoised("image", prob=1.0, std=0.1)])
        augment.set_random_state(5)
        self.optimizer = torch.optim.Adam(network.parameters(), 0.01)
        schedules = {
            "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, epochs),
            "linear": lambda: torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0, 0.0, total_iters=2),
            "steps": lambda: torch.optim.lr_scheduler.MultiStepLR(self.optimizer, [2]),
            "in sequence": lambda: SequentialLR(
                self.optimizer, [ConstantLR(self.optimizer, 1.0), CosineAnnealingLR(self.optimizer, epochs - 1)], [1]
            ),
            "chained": lambda: ChainedScheduler(
                [ConstantLR(self.optimizer, 1.0), CosineAnnealingLR(self.optimizer, epochs)], self.optimizer
            ),
        }
        self.schedule = schedules[schedule]()
        ima = IMAHandler(0.2, norm="linf", steps=2, margin_steps=2)
        self.best = BestWeights(network, folder, "model", ima.margins)
        metric = {"accuracy": Accuracy(from_engine(["pred", "label"]))}
        self.evaluator = SupervisedEvaluator(
            "cpu", DataLoader(Dataset(items), batch_size=6), network, key_val_metric=metric, val_handlers=[self.best]
        )
        if scores is not None:
            values = iter(scores)
            self.evaluator.add_event_handler(
                "EPOCH_COMPLETED", lambda engine: engine.state.metrics.update(accuracy=next(values))
            )
        objects = {
            "model": network,
            "optimizer": self.optimizer,
            "lr_scheduler": self.schedule,
            "margins": ima.margins,
            "best": self.best,
        }
        self.trainer = SupervisedTrainer(
            device="cpu",
            max_epochs=epochs,
            train_data_loader=DataLoader(Dataset(items, augment), workers, batch_size=4, shuffle=True),
            network=network,
            optimizer=self.optimizer,
            loss_function=nn.CrossEntropyLoss(),
            inferer=SimpleInferer(),
            train_handlers=[
                Resumable(folder, "model", objects, **settings),
                ima,
                ValidationHandler(1, self.evaluator),
                LrScheduleHandler(self.schedule, print_lr=False),
            ],
        )

    def run(self, stop_after: int | None = None) -> Run:
        """Train; ``stop_after`` an epoch, in the middle of the next one, as a killed process does."""

        def stop(engine):
            if stop_after is not None and engine.state.epoch == stop_after + 1 and engine.state.iteration % 3 == 2:
                raise KeyboardInterrupt

        self.trainer.add_event_handler("ITERATION_COMPLETED", stop)
        if stop_after is None:
            self.trainer.run()
        else:
            with pytest.raises(KeyboardInterrupt):
                self.trainer.run()
        return self


def content(file: Path):
    return torch.load(file, weights_only=True)


def same(one, two) -> bool:
    """Everything in two checkpoints is equal, bit for bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


@pytest.mark.parametrize(("stop", "workers"), [(0, 0), (1, 0), (2, 0), (3, 0), (2, 2)])
def test_a_killed_training_ends_as_an_unbroken_one_in_every_file(stop, workers, tmp_path):
    Run(tmp_path / "whole", workers=workers).run()
    Run(tmp_path / "broken", workers=workers).run(stop_after=stop)
    torch.rand(3)
    Run(tmp_path / "broken", resume="last", workers=workers).run()
    whole, broken = ({file.name: content(file) for file in (tmp_path / name).iterdir()} for name in ("whole", "broken"))
    assert set(whole) == {
        "model.pt",
        "model_margins.pt",
        "model_last.pt",
        "model_checkpoint_epoch=3.pt",
        "model_checkpoint_epoch=4.pt",
    }
    assert same(whole, broken)
    assert not same(whole["model_checkpoint_epoch=3.pt"], whole["model_checkpoint_epoch=4.pt"])


def test_a_training_that_is_killed_before_its_first_checkpoint_goes_on_over_its_own_best_weights(tmp_path):
    run = Run(tmp_path / "broken", scores=[0.5])
    run.evaluator.add_event_handler("COMPLETED", lambda engine: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.trainer.run()
    assert sorted(file.name for file in (tmp_path / "broken").glob("[!.]*")) == [
        "model.pt",
        "model_checkpoint_epoch=0.pt",
        "model_margins.pt",
    ]
    scores = [0.4, 0.3, 0.2, 0.1]
    Run(tmp_path / "broken", resume="last", scores=scores).run()
    Run(tmp_path / "whole", scores=scores).run()
    for name in ("model.pt", "model_last.pt"):
        assert same(content(tmp_path / "broken" / name), content(tmp_path / "whole" / name))


def test_the_first_epoch_after_a_break_is_not_the_best_for_being_the_first(tmp_path):
    Run(tmp_path, scores=[0.9, 0.3, 0.5]).run(stop_after=2)
    best = content(tmp_path / "model.pt")
    resumed = Run(tmp_path, resume="last", scores=[0.5, 0.8]).run()
    assert (resumed.best.best, resumed.best.best_epoch) == (0.9, 1)
    assert same(best, content(tmp_path / "model.pt"))
    again = Run(tmp_path / "again", scores=[0.9, 0.3, 0.5, 0.95]).run()
    assert (again.best.best, again.best.best_epoch) == (0.95, 4)


def test_nan_is_never_the_best(tmp_path):
    assert Run(tmp_path, scores=[float("nan"), 0.1, float("nan"), 0.05]).run().best.best_epoch == 2


def test_the_newest_checkpoint_that_is_whole_is_found(tmp_path, caplog):
    Run(tmp_path).run(stop_after=3)
    torn = tmp_path / "model_checkpoint_epoch=3.pt"
    torn.write_bytes(torn.read_bytes()[:1000])
    with caplog.at_level(logging.INFO):
        Run(tmp_path, resume="last").run()
    assert f"Checkpoint {torn} is damaged: looking for an older one." in caplog.text
    assert "Training goes on after epoch 2" in caplog.text
    Run(tmp_path / "whole").run()
    assert same(content(tmp_path / "model_last.pt"), content(tmp_path / "whole" / "model_last.pt"))


def test_damaged_and_missing_checkpoints_are_refused_in_one_sentence(tmp_path, caplog):
    Run(tmp_path).run(stop_after=1)
    (file,) = tmp_path.glob("*epoch=1.pt")
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="is no checkpoint that loads safely") as refused:
        Run(tmp_path, resume=file)
    assert "weights_only" not in str(refused.value)
    with pytest.raises(ValueError, match="Every checkpoint of model in"):
        Run(tmp_path, resume="last")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Run(tmp_path, resume=tmp_path / "none.pt")
    Run(tmp_path / "empty", resume="last")
    assert "training starts afresh" in caplog.text


def test_what_another_training_left_is_written_over_only_on_request(tmp_path):
    file = tmp_path / "model.pt"
    torch.save({"shipped": torch.ones(1)}, file)
    before = file.read_bytes()
    with pytest.raises(FileExistsError, match=r"model\.pt exists, and a new training would write over it"):
        Run(tmp_path)
    assert file.read_bytes() == before
    Run(tmp_path, overwrite=True, epochs=1).run()
    assert file.read_bytes() != before
    with pytest.raises(FileExistsError, match=r"overwrite=True"):
        Run(tmp_path)


def test_a_schedule_is_neither_stretched_nor_gone_on_with_at_a_rate_of_0(tmp_path):
    Run(tmp_path, epochs=2).run()
    with pytest.raises(ValueError, match="CosineAnnealingLR of T_max 2, which cannot be changed to 4"):
        Run(tmp_path, resume="last", epochs=4).run()
    Run(tmp_path / "linear", epochs=2, schedule="linear").run()
    with pytest.raises(ValueError, match="has come to a learning rate of 0"):
        Run(tmp_path / "linear", resume="last", epochs=4, schedule="linear").run()
    Run(tmp_path / "steps", epochs=2, schedule="steps").run()
    longer = Run(tmp_path / "steps", resume="last", epochs=4, schedule="steps").run()
    assert longer.trainer.state.epoch == 4
    assert longer.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)
    with pytest.raises(ValueError, match="is of epoch 4, expected one of the 3 epochs"):
        Run(tmp_path / "steps", resume="last", epochs=3, schedule="steps").run()


@pytest.mark.parametrize("schedule", ["in sequence", "chained"])
def test_a_schedule_made_of_others_is_not_stretched_either(schedule, tmp_path):
    Run(tmp_path, epochs=3, schedule=schedule).run(stop_after=1)
    with pytest.raises(ValueError, match=r"of part 1: T_max [23], which cannot be changed to [56]"):
        Run(tmp_path, resume="last", epochs=6, schedule=schedule).run()
    assert Run(tmp_path, resume="last", epochs=3, schedule=schedule).run().trainer.state.epoch == 3


def files(folder: Path) -> dict[str, dict]:
    return {file.name: content(file) for file in folder.glob("*.pt")}


@pytest.mark.parametrize("earlier", [2, 6])
def test_what_overwrites_another_training_goes_on_as_itself(earlier, tmp_path):
    """A run that took the place of a shorter or a longer one, was killed, and goes on, ends as one in a new folder."""
    Run(tmp_path / "alone").run()
    Run(tmp_path / "shared", epochs=earlier).run()
    Run(tmp_path / "shared", overwrite=True).run(stop_after=2)
    resumed = Run(tmp_path / "shared", resume="last")
    assert resumed.trainer.state.epoch == 0
    resumed.run()
    assert same(files(tmp_path / "alone"), files(tmp_path / "shared"))


def test_a_prolonged_training_that_is_killed_goes_on_where_it_was_and_not_where_it_once_ended(tmp_path):
    Run(tmp_path / "whole", epochs=2, schedule="steps").run()
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    longer = {"resume": "last", "epochs": 6, "schedule": "steps"}
    Run(tmp_path / "whole", **longer).run()
    Run(tmp_path / "broken", **longer).run(stop_after=4)
    assert (tmp_path / "broken" / "model_last.pt").is_file()
    resumed = Run(tmp_path / "broken", **longer)
    started: list[int] = []
    resumed.trainer.add_event_handler("EPOCH_STARTED", lambda engine: started.append(engine.state.epoch))
    resumed.run()
    assert started == [5, 6]
    assert same(files(tmp_path / "whole"), files(tmp_path / "broken"))


def test_a_run_from_an_older_checkpoint_does_not_write_over_what_came_after_it_unasked(tmp_path):
    Run(tmp_path, schedule="steps").run()
    older = tmp_path / "model_checkpoint_epoch=3.pt"
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=r"epoch=4\.pt is of the training after .*epoch=3\.pt, and would be"):
        Run(tmp_path, resume=older, schedule="steps")
    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    Run(tmp_path, resume=older, epochs=6, schedule="steps", overwrite=True).run(stop_after=4)
    left = sorted(file.name for file in tmp_path.glob("model_*epoch*")), (tmp_path / "model_last.pt").exists()
    assert left == (["model_checkpoint_epoch=3.pt", "model_checkpoint_epoch=4.pt"], False)
    Run(tmp_path, resume=tmp_path / "model_checkpoint_epoch=4.pt", epochs=4, schedule="steps")
    Run(tmp_path / "elsewhere", resume=older, schedule="steps").run()


def test_a_second_training_in_the_same_folder_is_refused_until_the_first_is_gone(tmp_path):
    code = (
        f"import os, sys, time, pathlib; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "print(os.getpid(), flush=True)\n"
        "from test_resumable import Run\n"
        f"run = Run(pathlib.Path({str(tmp_path)!r}))\n"
        "run.trainer.add_event_handler('ITERATION_COMPLETED', lambda _: (print('in', flush=True), time.sleep(60)))\n"
        "run.trainer.run()\n"
    )
    first = subprocess.Popen([warm_programs() / "python", "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        running = Path("/proc") / first.stdout.readline().strip()
        while first.stdout.readline() != "in\n":
            assert first.poll() is None
        with pytest.raises(FileExistsError, match=r"Another process trains model in folder .*: wait for it, or give"):
            Run(tmp_path, resume="last").run()
    finally:
        first.kill()
        first.wait()
    while running.exists():
        time.sleep(0.01)
    Run(tmp_path, resume="last").run()
    assert not (tmp_path / ".model.lock").exists()


def test_a_finished_training_has_nothing_left_to_do(tmp_path):
    Run(tmp_path).run()
    before = {file.name: content(file) for file in tmp_path.iterdir()}
    Run(tmp_path, resume="last", schedule="cosine").run()
    assert same(before, {file.name: content(file) for file in tmp_path.iterdir()})


def test_a_checkpoint_of_other_objects_is_refused(tmp_path):
    torch.save({"model": {}}, tmp_path / "old.pt")
    with pytest.raises(ValueError, match="holds no best, expected one that this training wrote"):
        Run(tmp_path, resume=tmp_path / "old.pt").run()


def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch):
    Run(tmp_path).run(stop_after=1)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    save = torch.save

    def full(value, file):
        save(value, file)
        Path(file).write_bytes(Path(file).read_bytes()[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        Run(tmp_path, resume="last", scores=[1.0]).run()
    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()}


def test_a_file_is_whole_or_as_it_was(tmp_path):
    file = tmp_path / "new" / "table.csv"
    with whole_file(file) as unfinished:
        unfinished.write_text("one")
        assert not file.exists()
    with pytest.raises(ZeroDivisionError), whole_file(file) as unfinished:
        unfinished.write_text(f"half {1 / 0}" if unfinished.write_text("half") else "")
    with whole_file(file) as unfinished:
        unfinished.write_text("two")
        assert file.read_text() == "one"
    with open(file) as reader:
        with whole_file(file) as unfinished:
            unfinished.write_text("one")
        assert reader.read() == "two", "who reads the older file goes on with it: it is replaced, not written into"
    assert [found.name for found in file.parent.iterdir()] == ["table.csv"]
    assert file.read_text() == "one"
    with pytest.raises(FileExistsError, match="exists already"), whole_file(file, overwrite=False):
        pass
