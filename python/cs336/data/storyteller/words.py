"""The people, animals, places and things that stories are about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pronouns:
    """How a story speaks of somebody."""

    they: str
    them: str
    their: str


SHE = Pronouns("she", "her", "her")
HE = Pronouns("he", "him", "his")

GIRLS = (
    "Anna", "Bella", "Clara", "Dora", "Ella", "Fay", "Grace", "Hanna", "Ida", "Jill", "Kate", "Lily", "Mia", "Nora",
    "Olive", "Polly", "Rosa", "Sue", "Tess", "Zoe",
)  # fmt: skip
BOYS = (
    "Adam", "Ben", "Carl", "Dan", "Emil", "Finn", "Gus", "Hugo", "Ivan", "Jack", "Karl", "Leo", "Max", "Noah", "Otto",
    "Paul", "Ravi", "Sam", "Tom", "Will",
)  # fmt: skip
ANIMALS = (
    "bear", "cat", "dog", "duck", "fox", "frog", "goat", "hedgehog", "lamb", "mouse", "owl", "pig", "pony", "rabbit",
    "squirrel", "turtle",
)  # fmt: skip
PETS = ("kitten", "puppy", "rabbit", "duckling", "chick", "hedgehog")

LOOKS = ("little", "small", "young", "kind", "funny", "quiet", "happy", "clever")
GROWN_UPS = (("mom", SHE), ("dad", HE), ("grandma", SHE), ("grandpa", HE), ("aunt", SHE), ("uncle", HE))

PLACES = (
    ("in", "the park"), ("in", "the garden"), ("in", "the forest"), ("on", "the beach"), ("on", "the farm"),
    ("by", "the lake"), ("on", "the hill"), ("in", "the meadow"), ("at", "the playground"), ("by", "the river"),
)  # fmt: skip
HIDING_PLACES = (
    "under a bush", "behind a big tree", "in the tall grass", "next to a gray rock", "under an old bench",
    "behind the shed", "in a pile of leaves", "behind a wooden box",
)  # fmt: skip
TREASURES = (
    "red ball", "blue kite", "yellow hat", "toy car", "wooden boat", "silver bell", "green scarf", "orange bucket",
    "picture book", "soft doll", "paper plane", "shiny button",
)  # fmt: skip
BREAKABLE = ("blue cup", "glass bowl", "white plate", "yellow vase", "tea pot", "flower pot")
TOYS = ("toy train", "wooden horse", "toy truck", "music box", "red wagon", "little robot")
TREATS = ("apple", "cookie", "muffin", "orange", "pear", "sandwich", "slice of cake", "bag of nuts", "pancake", "plum")
WEATHER = (
    "It was sunny and bright.", "The sky was blue and clear.", "It was warm outside.", "A soft wind was blowing.",
    "The sun was shining.", "It was cool and quiet.", "White clouds moved across the sky.",
    "The birds were singing.",
)  # fmt: skip
NOISES = ("a loud bang", "a strange sound", "a soft scratch", "a strange cry", "a long squeak", "a heavy thump")
SEEDS = ("bean", "pumpkin seed", "sunflower seed", "carrot seed", "pea", "apple seed")
SKILLS = ("swim", "ride a bike", "whistle", "skate", "climb the rope", "tie a bow", "juggle", "catch a ball")
GAMES = ("hide and seek", "tag", "catch", "follow the leader")


def a(noun: str) -> str:
    """The noun with its article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def upper_first(sentence: str) -> str:
    """The sentence with a capital."""
    return sentence[0].upper() + sentence[1:]
