"""Lightning trains, saves and resumes; what came out is written to the folder argv[1]."""

import sys
from pathlib import Path

import lightning
import torch
from common import batches, loss, make_model, snapshot, train

from lion_ports.torch import Lion

EPOCH = 3
SETTINGS = {"lr": lambda step: 0.01 / (step + 1), "weight_decay": 0.1, "momentum_dtype": "bfloat16"}


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = make_model()

    def training_step(self, half, index):
        return loss(self.model, half)

    def configure_optimizers(self):
        return Lion(self.parameters(), **SETTINGS)


def fit(folder, epochs, checkpoint=None):
    module = Module()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    loader = torch.utils.data.DataLoader(batches(EPOCH)[:, 0], batch_size=None)
    trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
    return module, trainer


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    model = make_model()
    optimizer = Lion(model.parameters(), **SETTINGS)
    for _ in range(2):
        train(model, optimizer, batches(EPOCH)[:, 0])
    found = {"alone": snapshot(model, optimizer)}

    module, trainer = fit(folder, 2)
    found["lightning"] = snapshot(module, trainer.optimizers[0])
    _, trainer = fit(folder, 1)
    trainer.save_checkpoint(folder / "saved.ckpt")
    module, trainer = fit(folder, 2, folder / "saved.ckpt")
    found["resumed"] = snapshot(module, trainer.optimizers[0])
    torch.save(found, folder / "found.pt")
