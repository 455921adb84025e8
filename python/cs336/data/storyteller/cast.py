"""Who is in a story, and how they speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from cs336.data.storyteller.words import (
    ANIMALS,
    BOYS,
    GIRLS,
    GROWN_UPS,
    HE,
    LOOKS,
    PLACES,
    SHE,
    WEATHER,
    Pronouns,
    a,
    upper_first,
)


@dataclass(frozen=True)
class Character:
    """Somebody with a name and pronouns."""

    name: str
    kind: str
    """girl, boy, or an animal."""
    pronouns: Pronouns

    @property
    def they(self) -> str:
        """she or he"""
        return self.pronouns.they

    @property
    def They(self) -> str:  # noqa: N802 - the capital begins a sentence
        """She or He"""
        return upper_first(self.pronouns.they)

    @property
    def them(self) -> str:
        """her or him"""
        return self.pronouns.them

    @property
    def their(self) -> str:
        """her or his"""
        return self.pronouns.their


@dataclass(frozen=True)
class Scene:
    """What every plot starts from."""

    rng: Random
    hero: Character
    friend: Character
    helper: Character
    """A grown-up, named after what the hero calls them."""
    place: str
    """the park"""
    at_place: str
    """in the park"""
    weather: str

    def pick(self, *choices: str) -> str:
        """One of the choices."""
        return self.rng.choice(choices)

    def say(self, who: str, words: str, *verbs: str) -> str:
        """A line of dialogue, with the speaker before or after it. The words end in their own sign.

        A question is asked, or called; nothing else is asked.
        """
        if words.endswith("?"):
            verb = self.rng.choice([verb for verb in verbs if verb in {"asked", "called"}] or ["asked"])
        else:
            verb = self.rng.choice([verb for verb in verbs if verb != "asked"] or ["said"])
        if self.rng.random() < 0.3:
            return f'{who} {verb}, "{words}"'
        inside = words[:-1] + "," if words.endswith(".") else words
        who = who[0].lower() + who[1:] if who.startswith(("Her ", "His ")) else who
        return f'"{inside}" {verb} {who}.' if verb == "said" else f'"{inside}" {who} {verb}.'

    @property
    def their_friend(self) -> str:
        """The friend, as the story first speaks of them: her friend Sam."""
        return f"{self.hero.their} friend {self.friend.name}"

    def other_animal(self, animals: Sequence[str]) -> str:
        """One of the animals that neither the hero nor the friend is."""
        return self.rng.choice([animal for animal in animals if animal not in {self.hero.kind, self.friend.kind}])

    @property
    def the_helper(self) -> str:
        """The grown-up from the hero's side, at the start of a sentence: Her mom, His aunt."""
        return f"{upper_first(self.hero.their)} {self.helper.name}"


def make_scene(rng: Random) -> Scene:
    """Draws a hero, a friend of another name, a helper, a place and the weather."""
    hero = _character(rng, ())
    friend = _character(rng, (hero.name,))
    helper_name, helper_pronouns = rng.choice(GROWN_UPS)
    helper = Character(helper_name, "grown-up", helper_pronouns)
    preposition, place = rng.choice(PLACES)
    return Scene(rng, hero, friend, helper, place, f"{preposition} {place}", rng.choice(WEATHER))


def _character(rng: Random, taken: tuple[str, ...]) -> Character:
    names, pronouns, child = rng.choice(((GIRLS, SHE, "girl"), (BOYS, HE, "boy")))
    name = rng.choice([name for name in names if name not in taken])
    kind = child if rng.random() < 0.6 else rng.choice(ANIMALS)
    return Character(name, kind, pronouns)


def introduce(scene: Scene) -> str:
    """The first sentences of a story."""
    hero, rng = scene.hero, scene.rng
    who = f"{a(rng.choice(LOOKS))} {hero.kind} named {hero.name}"
    opening = scene.pick(
        f"Once upon a time, there was {who}.",
        f"One day, {who} went to {scene.place}.",
        f"There once was {who}.",
        f"{upper_first(who)} lived near {scene.place}.",
        f"Once there was {who} who loved to play.",
    )
    if opening.endswith(f"went to {scene.place}."):
        return f"{opening} {scene.weather}"
    named = scene.place in opening
    to_place, at_place = ("there", "there") if named else (f"to {scene.place}", scene.at_place)
    going = scene.pick(
        f"One day, {hero.name} went {to_place}.",
        f"One morning, {hero.they} walked {to_place}.",
        f"One fine day, {hero.they} played {at_place}.",
    )
    return f"{opening} {going} {scene.weather}"
