"""The training step on PyTorch."""

from typing import Any

import torch

from keras_parts.discovery.steps.base import NamedLosses, all_finite, nan_unless


class TrainStep(NamedLosses):
    """Training step of a model with named losses."""

    def train_step(self, data: Any) -> dict[str, Any]:
        batch = self.unpack_batch(data)
        losses, total, updates = self._run_losses(batch, training=True)
        self.zero_grad()
        self.optimizer.scale_loss(total).backward()
        with torch.no_grad():
            gradients = [variable.value.grad for variable in self.trainable_variables]
            finite = all_finite(total, gradients)
            updates.apply_if(finite)
            self._apply(gradients, finite)
            self._update_metrics(losses, total, finite, batch)
        return self.get_metrics_result()

    def _apply(self, gradients, finite):
        if self._scales_loss:
            self.optimizer.apply(nan_unless(finite, gradients), self.trainable_variables)
            return
        # A branch on `finite` would make the host wait for the device in every step. Instead the
        # update is always applied, and undone if the step was not finite.
        state = [v.value for v in (*self.trainable_variables, *self.optimizer.variables)]
        before = [tensor.clone() for tensor in state]
        self.optimizer.apply(gradients, self.trainable_variables)
        for tensor, previous in zip(state, before, strict=True):
            tensor.copy_(torch.where(finite, tensor, previous))
