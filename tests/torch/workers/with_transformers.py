"""The Trainer of Hugging Face trains, saves and resumes; it all goes to the folder argv[1]."""

import sys
from pathlib import Path

import torch
from common import snapshot
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from lion_ports.torch import Lion

STEPS, SAVED = 6, 3
SETTINGS = {"lr": 0.002, "weight_decay": 0.1, "momentum_dtype": "bfloat16"}


def fit(folder, steps, checkpoint=None):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
    )
    model = LlamaForCausalLM(config)
    optimizer = Lion(model.parameters(), **SETTINGS)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, total_iters=STEPS)
    texts = torch.randint(32, (32, 16), generator=torch.Generator().manual_seed(1)) // 8
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=4,
            save_steps=SAVED,
            logging_steps=1,
            max_grad_norm=0.0,
            use_cpu=True,
            disable_tqdm=True,
            report_to=[],
        ),
        train_dataset=[{"input_ids": text, "labels": text} for text in texts],
        optimizers=(optimizer, schedule),
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {**snapshot(model, optimizer), "losses": losses}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = {"through": fit(folder, STEPS)}
    found["resumed"] = fit(folder, STEPS, folder / f"checkpoint-{SAVED}")
    torch.save(found, folder / "found.pt")
