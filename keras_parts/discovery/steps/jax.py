"""The training step on JAX: a pure function of the state, which consists of lists of arrays."""

from typing import Any

import jax
import keras
from keras import ops

from keras_parts.discovery.steps.base import NamedLosses, all_finite, nan_unless
from keras_parts.keras_private import updated_if


class TrainStep(NamedLosses):
    """Training step of a model with named losses, a pure function that Keras can compile."""

    def train_step(self, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        trainable, non_trainable, optimizer, metrics = state
        batch = self.unpack_batch(data)

        def scaled_loss(trainable):
            losses, total, *updated = self._pure_losses(
                batch, True, trainable, non_trainable, metrics
            )
            with keras.StatelessScope(zip(self.optimizer.variables, optimizer, strict=True)):
                scaled = self.optimizer.scale_loss(total)
            return scaled, (losses, total, *updated)

        gradients, aux = jax.grad(scaled_loss, has_aux=True)(trainable)
        losses, total, new_non_trainable, new_metrics = aux
        finite = all_finite(total, gradients)
        trainable, optimizer = self._apply(gradients, finite, trainable, optimizer)
        non_trainable = _updated_if(
            finite, self.non_trainable_variables, new_non_trainable, non_trainable
        )
        metrics = _updated_if(finite, self.metrics_variables, new_metrics, metrics)
        logs, metrics = self._pure_metrics(losses, total, finite, batch, metrics)
        return logs, (trainable, non_trainable, optimizer, metrics)

    def test_step(  # type: ignore[override]
        self, state: Any, data: Any
    ) -> tuple[dict[str, Any], Any]:
        trainable, non_trainable, metrics = state
        batch = self.unpack_batch(data)
        losses, total, non_trainable, new_metrics = self._pure_losses(
            batch, False, trainable, non_trainable, metrics
        )
        finite = ops.isfinite(total)
        metrics = _updated_if(finite, self.metrics_variables, new_metrics, metrics)
        logs, metrics = self._pure_metrics(losses, total, finite, batch, metrics)
        return logs, (trainable, non_trainable, metrics)

    def _pure_losses(self, batch, training, trainable, non_trainable, metrics):
        state = [
            *zip(self.trainable_variables, trainable, strict=True),
            *zip(self.non_trainable_variables, non_trainable, strict=True),
            *zip(self.metrics_variables, metrics, strict=True),
        ]
        losses, total, scope = self._run_losses(batch, training, state)
        non_trainable = [scope.get_current_value(v) for v in self.non_trainable_variables]
        metrics = [scope.get_current_value(v) for v in self.metrics_variables]
        return losses, total, non_trainable, metrics

    def _pure_metrics(self, losses, total, finite, batch, metrics):
        variables = self.metrics_variables
        with keras.StatelessScope(zip(variables, metrics, strict=True)) as scope:
            self._update_metrics(losses, total, finite, batch)
            logs = self.get_metrics_result()
        return logs, [scope.get_current_value(v) for v in variables]

    def _apply(self, gradients, finite, trainable, optimizer):
        if self._scales_loss:
            return self.optimizer.stateless_apply(
                optimizer, nan_unless(finite, gradients), trainable
            )
        applied = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return jax.tree.map(
            lambda new, previous: ops.where(finite, new, previous), applied, (trainable, optimizer)
        )


def _updated_if(finite, variables, new, previous):
    return [updated_if(finite, *each) for each in zip(variables, new, previous, strict=True)]
