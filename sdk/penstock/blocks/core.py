"""`Block`: the base of typed configuration. `class Warehouse(Block): host: str; password: SecretStr`.

A block is saved under a name, and loaded by its class: `Warehouse.load("prod")`. Which fields are secret, their types
say. Where a block is kept is `documents`' part.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from .. import resources
from ..api import names
from ..context import FLOW
from ..dispatch import dispatch, in_a_thread
from ..errors import BlockTypeMismatch, DefinitionError, InvalidResource
from . import documents
from .documents import Document
from .secrets import joined, split

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Block"]

_types: dict[str, type[Block]] = {}


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # it has no public name


class _BlockClass(ModelMetaclass):
    """Makes blocks: what does not fit a field is an error of ours, for it is the user's configuration that is wrong."""

    def __call__(self, *args: Any, **fields: Any) -> Any:
        try:
            return super().__call__(*args, **fields)
        except ValidationError as error:
            block: Any = self
            raise InvalidResource(
                f"block of type {block.get_block_type_slug()}: {problems(error)}; "
                f"give {self.__name__}(...) what its fields' types say"
            ) from None


class Block(BaseModel, metaclass=_BlockClass):
    """A typed piece of configuration with a name. No error of it, and no repr, shows a secret."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    _block_type_name: ClassVar[str | None] = None
    _block_type_slug: ClassVar[str | None] = None
    _description: ClassVar[str | None] = None

    _block_document_name: str | None = PrivateAttr(default=None)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        _types[cls.get_block_type_slug()] = cls

    def model_post_init(self, context: Any) -> None:
        """Let the block set itself up."""
        super().model_post_init(context)
        self.block_initialization()

    def block_initialization(self) -> None:
        """For subclasses: called when the fields are set."""

    @classmethod
    def get_block_type_name(cls) -> str:
        """The type's name, for people."""
        return cls._block_type_name or cls.__name__

    @classmethod
    def get_block_type_slug(cls) -> str:
        """The type's name in objects: `MyBlock` is `myblock`."""
        slug = names.dns_label((cls._block_type_slug or cls.get_block_type_name()).replace(" ", "-"))
        if not slug:
            raise DefinitionError(f"block type {cls.__name__}: it needs a letter or a digit; set _block_type_slug")
        return slug

    @classmethod
    def get_description(cls) -> str | None:
        """What the type is for."""
        text = cls._description or cls.__dict__.get("__doc__")
        return inspect.cleandoc(text) if text else None

    def save(self, name: str | None = None, overwrite: bool = False) -> str:
        """Keep the block under a name (that it was loaded by when unset), and its secrets apart; the name."""
        return dispatch(self._save, name, overwrite)

    async def asave(self, name: str | None = None, overwrite: bool = False) -> str:
        """`save` for async callers."""
        return await in_a_thread(self._save, name, overwrite)

    @classmethod
    def load(cls, name: str, validate: bool = True) -> Self:
        """The block of that name; `type/name` says which type is wanted, for `Block.load`."""
        return dispatch(cls._load, name, validate)

    @classmethod
    async def aload(cls, name: str, validate: bool = True) -> Self:
        """`load` for async callers."""
        return await in_a_thread(cls._load, name, validate)

    @classmethod
    def delete(cls, name: str) -> bool:
        """Delete the block of that name with its secrets; whether it was there."""
        return dispatch(cls._delete, name)

    @classmethod
    async def adelete(cls, name: str) -> bool:
        """`delete` for async callers."""
        return await in_a_thread(cls._delete, name)

    @classmethod
    def of_document(cls, name: str, document: Document, validate: bool = True) -> Self:
        """The block that a document holds. Raises BlockTypeMismatch and InvalidResource."""
        chosen = cls._class_for(name, document.type)
        content = joined(chosen, document.data, document.secrets)
        block: Self
        if validate:
            try:
                block = chosen.model_validate(content)
            except ValidationError as error:
                raise InvalidResource(f"block {name}: {problems(error)}; save it again") from None
        else:
            unchecked: Any = chosen.model_construct(**content)
            block = unchecked
        block._block_document_name = name
        return block

    def to_document(self) -> Document:
        """What is kept of the block."""
        plain, secrets = split(self)
        return Document(self.get_block_type_slug(), plain, secrets, self.get_description())

    def _save(self, name: str | None, overwrite: bool) -> str:
        if type(self) is Block:
            raise InvalidResource("a plain Block has no fields: save an object of a class that is derived from it")
        name = name or self._block_document_name
        if name is None:
            raise InvalidResource("a block needs a name: save(name)")
        documents.write(name, self.to_document(), overwrite)
        self._block_document_name = name
        return name

    @classmethod
    def _load(cls, name: str, validate: bool) -> Self:
        slug, _, plain = name.rpartition("/")
        _warn_undeclared(plain)
        document = documents.read(plain)
        if slug and slug != document.type:
            raise BlockTypeMismatch(f"block {plain} is of type {document.type}, not {slug}: load the other block")
        return cls.of_document(plain, document, validate)

    @classmethod
    def _delete(cls, name: str) -> bool:
        slug, _, plain = name.rpartition("/")
        return documents.remove(plain, slug or (None if cls is Block else cls.get_block_type_slug()))

    @classmethod
    def _class_for(cls, name: str, slug: str) -> type[Self]:
        if cls is not Block and slug == cls.get_block_type_slug():
            return cls
        known = _types.get(slug)
        if known is not None and issubclass(known, cls):
            return known
        if cls is not Block:
            raise BlockTypeMismatch(
                f"block {name} is of type {slug}, and {cls.__name__} loads {cls.get_block_type_slug()}: "
                "load it with its own class, or name another block"
            )
        raise BlockTypeMismatch(f"block {name} is of type {slug}, which no imported class has: import its class first")


def _warn_undeclared(name: str) -> None:
    """Say here what would be an error in a pod."""
    run = FLOW.get()
    if run is None or name in run.flow.blocks or resources.in_pod():
        return
    from ..logging import get_run_logger

    get_run_logger().warning("block %s is not declared: in a cluster the flow needs @flow(blocks=[%r])", name, name)


def problems(error: ValidationError) -> str:
    """What is wrong with which fields, without the values."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'block'}: {one['msg']}" for one in found)
