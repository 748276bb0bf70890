"""Random numbers of one seed: generators that belong to a block of code, in one thread, and to nothing else.

Torch's own random state is one for the whole process. Within :func:`seeded` our models draw from generators of the
block instead, :func:`generator`, and what is not ours (a user's module, a distribution of torch) has its random calls
redirected to them. Other threads, and the state outside, neither see nor disturb it. Outside of such a block all of it
draws from torch's state, as `torch.manual_seed` has it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.overrides import TorchFunctionMode
from zuko.distributions import NormalizingFlow

__all__ = [
    "Dropout",
    "Generators",
    "categorical",
    "draw",
    "draws_by_itself",
    "generator",
    "normal",
    "redirected",
    "seeded",
    "uniform",
]


class Generators:
    """The generators of a seed, one a device, each made when it is first asked for.

    Example:
        >>> Generators(0).on("cpu") is Generators(0).on("cpu")
        False
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._made: dict[torch.device, torch.Generator] = {}

    def on(self, device: torch.device | str) -> torch.Generator:
        """Return the generator of a device."""
        device = torch.device(device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in self._made:
            self._made[device] = torch.Generator(device).manual_seed(self.seed)
        return self._made[device]


_current: ContextVar[Generators | None] = ContextVar("generators", default=None)
_redirecting: ContextVar[bool] = ContextVar("redirecting", default=False)


@contextmanager
def seeded(seed: int | Generators, *, redirect: bool = True) -> Iterator[None]:
    """Draw from generators of a seed in the body, and in this thread alone.

    Torch's random state is neither used nor changed, so that threads run side by side, each with its own numbers.

    Args:
        seed: The seed; or the generators, to go on where an earlier block ended.
        redirect: Whether also calls that name no generator (``torch.rand(3)``, ``distribution.sample()``,
            ``F.dropout``) draw from them. It makes every torch function called in the body about a microsecond slower;
            without it they draw from torch's state. Models of this package name theirs, once they are made.

    Example:
        >>> with seeded(7):
        ...     first = torch.rand(2)
        >>> with seeded(7):
        ...     torch.equal(torch.rand(2), first)
        True
    """
    token = _current.set(seed if isinstance(seed, Generators) else Generators(seed))
    try:
        with redirected() if redirect else nullcontext():
            yield
    finally:
        _current.reset(token)


@contextmanager
def redirected() -> Iterator[None]:
    """Let calls in the body that name no generator draw from those of :func:`seeded`, if it runs in such a block."""
    if _current.get() is None or _redirecting.get():
        yield
        return
    token = _redirecting.set(True)
    try:
        with _Redirect():
            yield
    finally:
        _redirecting.reset(token)


def generator(device: torch.device | str = "cpu") -> torch.Generator | None:
    """Return what to pass to torch as ``generator``: that of :func:`seeded`, or None, outside, for torch's own.

    Example:
        >>> with seeded(0):
        ...     int(torch.randint(10, (), generator=generator("cpu")))
        4
    """
    generators = _current.get()
    return None if generators is None else generators.on(device)


def _named(device: torch.device) -> dict[str, Any]:
    """Return the option that names the generator; none outside of `seeded`, since torch.compile takes no None."""
    mine = generator(device)
    return {} if mine is None else {"generator": mine}


def uniform(shape: Any, like: Tensor) -> Tensor:
    """Draw numbers between 0 and 1, of the dtype and on the device of a tensor.

    Example:
        >>> uniform((2, 3), torch.zeros(1, dtype=torch.float64)).dtype
        torch.float64
    """
    return torch.rand(Size(shape), dtype=like.dtype, device=like.device, **_named(like.device))


def normal(shape: Any, like: Tensor) -> Tensor:
    """Draw numbers of N(0, 1), of the dtype and on the device of a tensor.

    Example:
        >>> normal((2, 3), torch.zeros(1)).shape
        torch.Size([2, 3])
    """
    return torch.randn(Size(shape), dtype=like.dtype, device=like.device, **_named(like.device))


def categorical(logits: Tensor, sample_shape: Any = ()) -> Tensor:
    """Draw classes, int64 ``(*sample_shape, ...)``, with unnormalised log-probabilities ``(..., K)``.

    Example:
        >>> categorical(torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]]), (2,))
        tensor([[0, 1],
                [0, 1]])
    """
    shape = Size(sample_shape)
    if not (n := shape.numel()) or not logits.numel():
        return torch.zeros(shape + logits.shape[:-1], dtype=torch.int64, device=logits.device)
    chances = logits.softmax(-1).flatten(0, -2) if logits.ndim > 1 else logits.softmax(-1)[None]
    drawn = chances.multinomial(n, replacement=True, generator=generator(logits.device))
    return drawn.mT.reshape(shape + logits.shape[:-1])


@torch.no_grad()
def draw(distribution: Any, sample_shape: Any = ()) -> Tensor:
    """Draw from a distribution of whatever library, ``distribution.sample(sample_shape)``.

    Example:
        >>> with seeded(0, redirect=False):
        ...     draw(torch.distributions.Exponential(torch.ones(2)), (3,)).shape
        torch.Size([3, 2])
    """
    shape = Size(sample_shape)
    if isinstance(distribution, NormalizingFlow):
        return distribution.transform.inv(draw(distribution.base, shape))
    if not draws_by_itself(distribution):
        return distribution.sample(shape)
    with redirected():
        return distribution.sample(shape)


class Dropout(nn.Dropout):
    """Dropout, as torch has it, from the generators of :func:`seeded`.

    Example:
        >>> Dropout(0.5).eval()(torch.ones(2))
        tensor([1., 1.])
    """

    free_options = ("p", "inplace")  # they change nothing in what weights mean

    def forward(self, input: Tensor) -> Tensor:
        """Set values to 0 with the probability ``p``, and the others to 1 / (1 - p) times what they are."""
        return _drop(input, self.p) if self.training and self.p > 0 else input


def draws_by_itself(part: Any) -> bool:
    """Return whether an object may draw without naming a generator: what is not ours, but for layers that do not.

    Example:
        >>> [draws_by_itself(part) for part in (nn.Linear(1, 1), nn.Dropout(0.5), Dropout(0.5), print)]
        [False, True, False, True]
    """
    where = getattr(part, "__module__", "") if callable(part) and not isinstance(part, nn.Module) else ""
    where = where or type(part).__module__
    package = where.partition(".")[0]
    if package in {"torch", "zuko"} and isinstance(part, nn.Module):
        return isinstance(part, _DRAWING_LAYERS) or where == "zuko.flows.continuous"
    return package != "tessflow"


_DRAWING_LAYERS = (
    nn.modules.dropout._DropoutNd,
    nn.RNNBase,
    nn.MultiheadAttention,
    nn.RReLU,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
)


# Random bits are most of dropout's time on a processor: a draw of 64 of them makes four decisions.
_DECISIONS, _LEVELS = 4, 1 << 16


def _drop(x: Tensor, p: float) -> Tensor:
    """Drop with the probability p: on a processor, to the nearest 2^-16."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(x):
        kept = torch.empty_like(x).bernoulli_(1 - p, generator=generator(x.device))
        return x * (kept.div_(1 - p) if p < 1 else kept)
    dropped = round(p * _LEVELS)
    if dropped == _LEVELS:
        return x * 0
    bits = torch.empty(-(-x.numel() // _DECISIONS), dtype=torch.int64)
    bits.random_(-(1 << 63), None, generator=generator(x.device))
    kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - _LEVELS // 2
    return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))


class _Redirect(TorchFunctionMode):
    """Give the generator of the block to the random functions of torch that are called in this thread."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _LIKE:
            return _LIKE[func](*args, **kwargs)
        named = kwargs.get("generator") is not None or any(isinstance(value, torch.Generator) for value in args)
        if func in _TAKES_GENERATOR and not named:
            return func(*args, **kwargs | {"generator": generator(_device(args, kwargs))})
        if func in _TAKES_NONE:
            return _forked(func, args, kwargs)
        return func(*args, **kwargs)


def _device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    """Return the device that a random function draws on: that it names, that of its tensors, or the default one."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
    return next((tensor.device for tensor in tensors), torch.get_default_device())


# Not every version of torch takes a generator for these.
def _like(fill: str) -> Callable[..., Tensor]:
    def drawn(input: Tensor, *bounds: int, requires_grad: bool = False, **options: Any) -> Tensor:
        limits = [options.pop(name) for name in ("low", "high") if name in options]
        bounds = tuple(bounds) + tuple(limits)
        if fill == "random_" and len(bounds) == 1:
            bounds = (0, *bounds)
        empty = torch.empty_like(input.detach(), **options)
        return getattr(empty, fill)(*bounds, generator=generator(empty.device)).requires_grad_(requires_grad)

    return drawn


_LIKE: dict[Any, Callable[..., Tensor]] = {
    torch.rand_like: _like("uniform_"),
    torch.randn_like: _like("normal_"),
    torch.randint_like: _like("random_"),
}

_TAKES_GENERATOR: set[Any] = {
    *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli, torch.multinomial),
    *(torch.poisson, torch.binomial, torch._standard_gamma, torch._sample_dirichlet),
    *(Tensor.bernoulli, Tensor.bernoulli_, Tensor.cauchy_, Tensor.exponential_, Tensor.geometric_),
    *(Tensor.log_normal_, Tensor.multinomial, Tensor.normal_, Tensor.random_, Tensor.uniform_),
    *(nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_),
}

# They draw inside from torch's own state, and are called for that with the state of this block: one at a time.
_TAKES_NONE: set[Any] = {
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout),
    *(torch.native_dropout, torch.dropout, torch.dropout_, torch.alpha_dropout, torch.alpha_dropout_),
    *(torch.feature_dropout, torch.feature_dropout_, torch.feature_alpha_dropout, torch.feature_alpha_dropout_),
    *(F.rrelu, torch.rrelu, torch.rrelu_, F.gumbel_softmax, F.fractional_max_pool2d, F.fractional_max_pool3d),
    *(F.fractional_max_pool2d_with_indices, F.fractional_max_pool3d_with_indices),
    *(F.scaled_dot_product_attention, F.multi_head_attention_forward),
    *(torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu, torch.pca_lowrank, torch.svd_lowrank),
}
_FORKING = threading.Lock()


def _forked(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    device = _device(args, kwargs)
    mine = generator(device)
    assert mine is not None
    is_cuda = device.type == "cuda"
    with _FORKING, torch.random.fork_rng(devices=[device] if is_cuda else []):
        if is_cuda:
            torch.cuda.set_rng_state(mine.get_state(), device)
        else:
            torch.set_rng_state(mine.get_state())
        result = func(*args, **kwargs)
        mine.set_state(torch.cuda.get_rng_state(device) if is_cuda else torch.get_rng_state())
    return result
