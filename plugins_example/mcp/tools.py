"""What the author of a tool imports: the base class and the mark.

A tool is a method, plain or ``async``. Its docstring is its description, its signature
the schema of its arguments. Plain methods run on worker threads, so they may block.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import mcp_types as types
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata, func_metadata
from pydantic import ValidationError

import luminal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PHOTON", "ToolError", "ToolPhoton", "failure", "tool"]

F = TypeVar("F", bound="Callable[..., Any]")

PHOTON = "photon"
"""Key of the photon's name in the ``_meta`` of its tools and of their results."""

_MARK = "_is_mcp_tool"


def tool(function: F) -> F:
    """Mark a method as a tool."""
    setattr(function, _MARK, True)
    return function


def failure(text: str) -> types.CallToolResult:
    """Return the result of a call that failed, with *text* for the model to read."""
    content = types.TextContent(type="text", text=text)
    return types.CallToolResult(content=[content], is_error=True)


class _Signature(NamedTuple):
    description: str
    parameters: dict[str, Any]
    metadata: FuncMetadata
    is_async: bool


def _signature(function: Callable[..., Any]) -> _Signature:
    # Results are text. A client checks structured ones against the schema that it
    # fetched before the swap, and a new schema would fail the call.
    metadata = func_metadata(function, skip_names=["self"], structured_output=False)
    return _Signature(
        inspect.getdoc(function) or "",
        metadata.arg_model.model_json_schema(by_alias=True),
        metadata,
        inspect.iscoroutinefunction(function),
    )


class ToolPhoton(luminal.IPhoton):
    """Base class of photons that have tools: the methods marked by `tool`.

    The class sets ``photon_name``.
    """

    _signatures: ClassVar[dict[str, _Signature]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Read the signatures; one that the SDK refuses rejects the file."""
        super().__init_subclass__(**kwargs)
        members = {name: getattr(cls, name, None) for name in dir(cls)}
        cls._signatures = {
            name: _signature(member)
            for name, member in members.items()
            if inspect.isfunction(member) and hasattr(member, _MARK)
        }

    @luminal.hookimpl
    def list_tools(self) -> list[types.Tool]:
        """Return the tools of this photon."""
        return [
            types.Tool(
                name=name,
                description=signature.description,
                input_schema=signature.parameters,
                _meta={PHOTON: self.context.name},
            )
            for name, signature in self._signatures.items()
        ]

    @luminal.hookimpl
    async def call_tool(
        self, name: str, arguments: dict[str, Any]
    ) -> types.CallToolResult | types.InputRequiredResult | None:
        """Call the tool *name*, if it is one of this photon's."""
        signature = self._signatures.get(name)
        if signature is None:
            return None
        result = await self._call(name, signature, arguments)
        result.meta = {**(result.meta or {}), PHOTON: self.context.name}
        return result

    async def _call(
        self, name: str, signature: _Signature, arguments: dict[str, Any]
    ) -> types.CallToolResult | types.InputRequiredResult:
        metadata = signature.metadata
        try:
            validated = metadata.validate_arguments(arguments)
            returned = await metadata.call_fn(
                getattr(self, name), signature.is_async, validated
            )
            return metadata.convert_result(returned)
        except (ToolError, ValidationError) as error:
            return failure(f"{name}: {error}")
        except Exception as error:
            self.context.logger.exception("tool %r failed", name)
            return failure(f"{name}: {type(error).__name__}: {error}")
