"""The optimizer of train_jax.py. Import it inside `recorded_interrupt`, because it imports JAX."""

import jax
import optax


def new_optimizer(learning_rate, n_steps):
    """AdamW with gradient clipping: linear warmup for a tenth of the steps, then cosine decay.

    As in minGPT, weight decay applies only to the matrices w of the linear layers.

    Raises:
        ValueError: the learning rate is not positive, or n_steps is 0.
    """
    if learning_rate <= 0 or n_steps < 1:
        raise ValueError("learning_rate must be more than 0, and n_steps 1 or more")
    schedule = optax.warmup_cosine_decay_schedule(0, learning_rate, n_steps // 10, n_steps)
    adamw = optax.adamw(schedule, b2=0.99, weight_decay=0.01, mask=is_decayed)
    return optax.chain(optax.clip_by_global_norm(1), adamw)


def is_decayed(params):
    """Whether weight decay applies to each array: nested params -> nested bools."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "w", params)
