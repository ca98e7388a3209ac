"""The common part of all backends' training steps: named losses, their total and averages."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_parts.errors import ConfigError
from keras_parts.keras_private import DeferredUpdates, loss_tracker

# Base of a mixin: type checkers see the class that the mixin is combined with.
if TYPE_CHECKING:
    from keras import Model
else:
    Model = object


class NamedLosses(Model):
    """Mixin for a `keras.Model` that is trained on several named losses.

    The model calls `track_losses` in its constructor and implements `compute_losses`; it must be
    built before `fit`. A batch is whatever `compute_losses` takes, usually a dict of arrays. A
    generator passed to `fit` yields each batch in a tuple, `(batch,)`.

    Attributes:
        loss_weights: {name: weight}.
        loss_metrics: {name: keras.metrics.Mean}, averages of the unweighted losses over the steps
            that were finite; they are reported as NaN if no step was.
        skipped_steps: keras.metrics.Sum, number of steps skipped in the epoch.
    """

    def track_losses(self, loss_weights: Mapping[str, float]) -> None:
        """Declare the losses, {name: weight}. A loss of weight 0 is reported but not trained on."""
        self.loss_weights = {name: float(weight) for name, weight in loss_weights.items()}
        self.loss_metrics = {name: keras.metrics.Mean(name=name) for name in loss_weights}
        self.skipped_steps = keras.metrics.Sum(name="skipped_steps")

    def compute_losses(self, batch: Any, training: bool) -> dict[str, Any]:
        """The unweighted losses of a batch, to be implemented by the model.

        Returns:
            `{name: scalar}` for exactly the names in `loss_weights`.
        """
        raise NotImplementedError

    def unpack_batch(self, data: Any) -> Any:
        """The batch in what Keras passes to a step: `batch`, or `(batch,)`.

        Raises:
            ConfigError: there are labels or sample weights, which `compute_losses` does not get.
        """
        batch, *unused = keras.utils.unpack_x_y_sample_weight(data)
        if any(each is not None for each in unused):
            raise ConfigError(
                f"{type(self).__name__} uses neither y nor sample_weight: put all tensors of a "
                "batch in one dictionary"
            )
        return batch

    def test_step(self, data: Any) -> Any:
        batch = self.unpack_batch(data)
        losses, total, updates = self._run_losses(batch, training=False)
        finite = ops.isfinite(total)
        updates.apply_if(finite)
        self._update_metrics(losses, total, finite, batch)
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, Any]:
        """The averages so far, as in Keras; NaN for a loss of which no finite value was seen.

        Keras' own mean of nothing is 0, the best of all losses. `TerminateOnNaN`, `EarlyStopping`
        and `ModelCheckpoint` recognise NaN.
        """
        results = super().get_metrics_result()
        trackers = [loss_tracker(self), *self.loss_metrics.values()]
        means = {each.name: ops.where(each.count > 0, each.result(), math.nan) for each in trackers}
        return {**results, **means}

    def _run_losses(self, batch, training, state=None):
        """The losses, their weighted total, and the deferred assignments to variables."""
        if state is None:
            state = [(v, v) for v in self.trainable_variables]
        with DeferredUpdates(state, collect_losses=True) as scope:
            losses = {
                name: _as_float(name, loss)
                for name, loss in self.compute_losses(batch, training).items()
            }
            total = self._total(losses)
        return losses, total, scope

    def _total(self, losses):
        if losses.keys() != self.loss_weights.keys():
            raise ValueError(
                f"compute_losses returned the losses {sorted(losses)}, expected those declared to "
                f"track_losses: {sorted(self.loss_weights)}"
            )
        for name, loss in losses.items():
            if len(loss.shape):
                raise ValueError(f"loss {name!r} has shape {tuple(loss.shape)}, expected a scalar")
        total = sum(w * losses[name] for name, w in self.loss_weights.items() if w)
        return total + sum(ops.cast(ops.sum(extra), "float32") for extra in self.losses)

    def _update_metrics(self, losses, total, finite, batch):
        """Average the losses over samples, as Keras does, but leave out skipped steps.

        Where the loss is scaled, a step may be skipped only because its scale is too large: its
        losses are those of the model, and count.
        """
        counts = ops.isfinite(total) if self._scales_loss else finite
        batch_size = ops.shape(keras.tree.flatten(batch)[0])[0]
        samples = ops.cast(counts, "float32") * ops.cast(batch_size, "float32")
        trackers = {"loss": loss_tracker(self), **self.loss_metrics}
        for name, value in {"loss": total, **losses}.items():
            trackers[name].update_state(ops.where(counts, value, 0.0), sample_weight=samples)
        self.skipped_steps.update_state((1.0 - ops.cast(finite, "float32")) / self._replicas)

    _replicas = 1  # number of replicas over which metrics and gradients are summed

    @property
    def _scales_loss(self):
        """Whether the loss is scaled dynamically, for mixed_float16.

        A `LossScaleOptimizer` itself skips steps whose gradients are not finite. It must get these
        gradients, as it lowers its scale then.
        """
        return isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)


def all_finite(loss: Any, gradients: Sequence[Any]) -> Any:
    """Whether the loss and all elements of all gradients are finite, a scalar bool tensor.

    Args:
        loss: scalar.
        gradients: tensors of any shape; None where a variable has no gradient.
    """
    tensors = [loss, *(g for g in gradients if g is not None)]
    return ops.all(ops.stack([ops.all(ops.isfinite(tensor)) for tensor in tensors]))


def nan_unless(finite: Any, gradients: Sequence[Any]) -> list[Any]:
    """The gradients, the first of them replaced by NaN unless `finite`.

    A `LossScaleOptimizer` skips a step because of its gradients, never because of its loss.
    """
    gradients = list(gradients)
    first = next(i for i, gradient in enumerate(gradients) if gradient is not None)
    gradients[first] = ops.where(finite, gradients[first], float("nan"))
    return gradients


def _as_float(name, loss):
    if loss is None:
        raise ValueError(f"loss {name!r} is None: its function returns nothing")
    return ops.cast(loss, "float32")
