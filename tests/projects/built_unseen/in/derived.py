from norms import Base


class Derived(Base):
    pass
