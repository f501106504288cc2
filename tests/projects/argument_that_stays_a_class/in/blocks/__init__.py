from ._base import Base, Block, plain
