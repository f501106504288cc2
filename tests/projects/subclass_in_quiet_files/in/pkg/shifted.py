"""No word of this file says what it derives from."""

from pkg import Norm as Base


class Shifted(Base):
    """Built where it is used."""


Alias = Shifted
