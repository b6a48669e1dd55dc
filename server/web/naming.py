"""Which model a request names, told to those only who may know.

A name is a word that people chose, and says something by itself: who may do nothing with the model
that it leads to hears what they would hear if nobody had given the name.
"""

from server.digest import Digest
from server.repository.aliases import Alias, Aliases, no_such_name
from server.signing.principal import Principal, Scope


def model_named(aliases: Aliases, text: str, principal: Principal, scope: Scope) -> Digest:
    """Return the model that a digest or a name stands for, to one who may do this with it.

    Raises
    ------
    AliasNotFound
        If it is neither, or a name that they may not know.
    ScopeMissing
        If they may not do this with the model.
    """
    if aliases.find(text) is not None:
        return alias_named(aliases, text, principal, scope).digest
    digest = aliases.resolve(text)
    principal.require(scope, digest)
    return digest


def alias_named(aliases: Aliases, name: str, principal: Principal, scope: Scope) -> Alias:
    """Return a name, to one who may do this with the model that it leads to.

    Raises
    ------
    AliasNotFound
        If there is none, or they may not know it.
    ScopeMissing
        If they may not do this with the model.
    """
    found = aliases.get(name)
    if not knows(principal, found.digest, scope):
        raise no_such_name(name)
    principal.require(scope, found.digest)
    return found


def knows(principal: Principal, digest: Digest, scope: Scope) -> bool:
    """Tell whether somebody who asks for this may know that names lead to a model."""
    return any(principal.allows(each, digest) for each in (scope, Scope.READ))
