"""The plots: each a small chain of cause and effect, told in beats with several ways to tell each."""

from __future__ import annotations

from collections.abc import Callable

from cs336.data.storyteller.cast import Scene
from cs336.data.storyteller.words import (
    BREAKABLE,
    GAMES,
    HIDING_PLACES,
    NOISES,
    PETS,
    SEEDS,
    SKILLS,
    TOYS,
    TREASURES,
    TREATS,
    a,
    upper_first,
)

Plot = Callable[[Scene], list[str]]


def lost_and_found(s: Scene) -> list[str]:
    """Something dear is lost; two look for it and find it."""
    hero, friend, thing = s.hero, s.friend, s.rng.choice(TREASURES)
    return [
        f"{hero.name} had {a(thing)}. {hero.They} took it everywhere. "
        + s.pick(
            f"But when {hero.they} stopped to rest, the {thing} was gone.",
            f"Then {hero.they} looked down and saw that the {thing} was not there.",
            f"But after a while {hero.they} could not find the {thing}.",
        )
        + " "
        + s.pick(f"{hero.name} was very sad.", f"{hero.name} began to cry.", f"{hero.They} felt like crying."),
        f"{friend.name} the {friend.kind} came by. " * (friend.kind not in ("girl", "boy"))
        + f"{upper_first(s.their_friend)} came to {s.place} too. " * (friend.kind in ("girl", "boy"))
        + s.say(friend.name, "What is wrong?", "asked")
        + " "
        + s.say(hero.name, f"I lost my {thing}.", "said", "answered")
        + " "
        + s.say(friend.name, s.pick("I will help you look.", "Let us look for it together.", "Do not cry."), "said"),
        "They looked and looked. "
        + f"At last {s.pick(friend.name, hero.name)} saw something {s.rng.choice(HIDING_PLACES)}. It was the {thing}! "
        + s.pick(f"{hero.name} jumped for joy.", f"{hero.name} gave {friend.name} a big hug.", "They both laughed.")
        + " "
        + s.say(hero.name, s.pick("Thank you for helping me!", "You are a good friend!"), "said", "shouted"),
        s.pick(
            f"From then on, {hero.name} always took good care of the {thing}.",
            f"After that, {hero.name} and {friend.name} played together every day.",
            f"{hero.name} learned that looking is easier with a friend.",
        ),
    ]


def sharing(s: Scene) -> list[str]:
    """One has food, the other has none."""
    hero, friend, treat = s.hero, s.friend, s.rng.choice(TREATS)
    return [
        f"{hero.name} had {a(treat)} for lunch. {hero.They} sat down and wanted to eat it. "
        + s.pick(f"It smelled so good. {hero.They} was hungry.", f"{hero.They} had waited for it all day."),
        f"Then {hero.name} saw {s.their_friend}. {friend.name} had nothing to eat and looked sad. "
        + s.say(friend.name, s.pick("I forgot my lunch.", "I am so hungry.", "My bag is empty."), "said")
        + " "
        + s.pick(
            f"{hero.name} thought about it for a moment.",
            f"{hero.name} looked at the {treat}. Then {hero.they} looked at {friend.name}.",
        ),
        f"{hero.name} gave half of the {treat} to {friend.name}. "
        + s.say(hero.name, s.pick("Here, this is for you.", "We can share it.", "Half of it is yours."), "said")
        + " "
        + s.pick(f"{friend.name} smiled.", f"{friend.name} was so happy.", "They ate together under a tree.")
        + " "
        + s.say(friend.name, s.pick("Thank you, this is yummy!", "You are so kind!"), "said"),
        s.pick(
            f"The next day, {friend.name} brought {a(s.rng.choice(TREATS))} and shared it with {hero.name}.",
            f"{hero.name} was not so full, but {hero.they} was very happy.",
            "They learned that food tastes better when you share it.",
        ),
    ]


def friendly_noise(s: Scene) -> list[str]:
    """A noise frightens; its maker turns out to be small and friendly."""
    hero, noise, animal = s.hero, s.rng.choice(NOISES), s.other_animal(PETS)
    where = s.rng.choice(HIDING_PLACES)
    return [
        s.pick(
            f"{hero.name} played until it began to get dark. Suddenly, {hero.they} heard {noise}.",
            f"All at once there was {noise}.",
        )
        + " "
        + s.pick(f"{hero.name} was scared.", f"{hero.name} stood very still.", f"{hero.name} wanted to run home."),
        s.say(hero.name, s.pick("Who is there?", "Is that a monster?", "Please go away!"), "asked", "called")
        + " "
        + s.pick("Nobody answered.", "There was no answer.", "Then it was quiet.")
        + f" {hero.name} took a deep breath and looked {where}.",
        f"There was no monster. It was only {a(animal)}! "
        + s.pick(f"The {animal} was cold.", f"The {animal} was lost.", f"The {animal} had a hurt leg.")
        + " "
        + s.say(hero.name, s.pick("You poor thing.", "Do not be afraid.", "I will help you."), "said")
        + f" {hero.They} took the {animal} home and "
        + s.pick("gave it something to eat.", "made it a warm bed.", "wrapped it in a blanket."),
        s.pick(
            f"The {animal} stayed with {hero.name}, and they became best friends.",
            f"{hero.name} was never scared of that noise again.",
            f"{hero.name} was glad that {hero.they} had been brave.",
        ),
    ]


def broken_thing(s: Scene) -> list[str]:
    """Something breaks, and the truth is told."""
    hero, thing, helper = s.hero, s.rng.choice(BREAKABLE), s.helper
    return [
        f"After a while, {hero.name} went home and played with a ball in the kitchen. "
        + f"{s.the_helper} had said not to do it. The ball hit the {thing}. Crash! The {thing} fell and broke.",
        s.pick(
            f"{hero.name} was afraid. {hero.They} wanted to hide the pieces.",
            f"{hero.name} felt very bad. {hero.They} did not know what to do.",
            f"At first, {hero.name} wanted to say that the wind had done it.",
        )
        + f" But then {hero.they} went to {hero.their} {helper.name}. "
        + s.say(hero.name, s.pick(f"I broke the {thing}. I am sorry.", f"It was me. I broke the {thing}."), "said"),
        s.pick(
            f"{s.the_helper} was not angry.",
            f"{s.the_helper} looked at {hero.them} and smiled.",
            f"{s.the_helper} gave {hero.them} a hug.",
        )
        + " "
        + s.say(s.the_helper, s.pick("Thank you for telling me the truth.", "It was brave to tell me."), "said")
        + " "
        + s.pick("They cleaned the floor together.", "They put the pieces together with glue."),
        s.pick(
            f"After that, {hero.name} played with the ball outside.",
            f"{hero.name} learned that it is good to tell the truth.",
            f"{hero.name} felt much better.",
        ),
    ]


def mended_toy(s: Scene) -> list[str]:
    """A toy stops working and is mended."""
    hero, toy, helper = s.hero, s.rng.choice(TOYS), s.helper
    part = s.pick("small wheel", "little screw", "small piece", "little knob")
    return [
        f"At home, {hero.name} had {a(toy)}. It was {hero.their} favorite toy. "
        + s.pick(
            f"But that evening it fell off the table, and a {part} came off.",
            f"But that evening a {part} fell out, and it did not work anymore.",
        ),
        s.pick(f"{hero.name} was sad.", f"{hero.name} tried to fix it, but it was too hard.")
        + f" {hero.They} took the {toy} to {hero.their} {helper.name}. "
        + s.say(hero.name, s.pick("Can you fix it?", "Can you help me?"), "asked")
        + " "
        + s.say(s.the_helper, s.pick("We can try together.", "Let us see what is wrong."), "said"),
        f"They found the {part} and "
        + s.pick("put it back on.", "put it back in its place.")
        + f" {hero.name} held the {toy}, and {hero.their} {helper.name} used the tools. Soon the {toy} worked again! "
        + s.say(hero.name, s.pick("Hooray!", "It works!", "It is as good as new!"), "shouted"),
        s.pick(
            f"{hero.name} hugged {hero.their} {helper.name} and said thank you.",
            f"Now {hero.name} knew how to fix things too.",
            f"{hero.name} played with the {toy} until bedtime.",
        ),
    ]


def planting(s: Scene) -> list[str]:
    """A seed is planted; waiting is hard; it grows."""
    hero, seed = s.hero, s.rng.choice(SEEDS)
    return [
        f"{s.the_helper} gave {hero.them} {a(seed)}. "
        + s.say(s.the_helper, "Put it in the ground and give it water every day.", "said")
        + f" {hero.name} dug a small hole and put the {seed} in.",
        "The next day, there was nothing to see. "
        + s.say(hero.name, s.pick("Why does it not grow?", "When will it come up?", "Is it asleep?"), "asked")
        + " "
        + s.say(s.the_helper, s.pick("You have to wait.", "Good things take time."), "said")
        + f" So {hero.name} waited. {hero.They} gave it water every morning.",
        s.pick("After a week,", "Many days later,", "Then, one morning,")
        + " a little green leaf came out of the ground. "
        + s.pick(f"{hero.name} was so excited!", f"{hero.name} danced around it.", f"{hero.name} ran to tell everyone.")
        + " The plant grew and grew in the sun. "
        + s.pick("Soon it was as tall as the fence.", f"Soon it was as tall as {hero.name}."),
        s.pick(
            f"{hero.name} was proud, because {hero.they} had not given up.",
            f"{hero.name} learned that waiting can be worth it.",
            f"In the end, {hero.name} shared what grew with {s.friend.name}.",
        ),
    ]


def learning(s: Scene) -> list[str]:
    """Something is hard at first, and practice helps."""
    hero, friend, skill = s.hero, s.friend, s.rng.choice(SKILLS)
    return [
        f"{hero.name} wanted to learn to {skill}. All the others could do it. "
        + s.pick(f"{hero.They} tried, but it did not work.", f"{hero.They} tried once, and it was too hard."),
        s.say(hero.name, s.pick(f"I will never {skill}!", "I cannot do it!", "It is too hard!"), "cried", "said")
        + f" {upper_first(s.their_friend)} heard it. "
        + s.say(friend.name, s.pick("I will show you how.", "Try it again, a little every day."), "said"),
        "So they practiced together. "
        + s.pick("On the first day, it went wrong.", "At first, it went wrong many times.")
        + " "
        + s.pick("On the second day, it was a little better.", "Then it went a little better.")
        + f" {hero.name} did not stop. "
        + f"And one day, {hero.they} could {skill}! "
        + s.say(hero.name, s.pick("Look at me!", "I did it!", "I can do it!"), "shouted"),
        s.pick(
            f"{friend.name} clapped and was proud of {hero.them}.",
            f"{hero.name} thanked {friend.name} for the help.",
            f"{hero.name} was happy that {hero.they} had kept trying.",
        ),
    ]


def rainy_plan(s: Scene) -> list[str]:
    """Rain stops a plan; a better one is found."""
    hero, friend, game = s.hero, s.friend, s.rng.choice(GAMES)
    inside = s.pick("built a fort with blankets", "drew big pictures", "baked cookies", "made a boat out of a box")
    return [
        f"{hero.name} and {s.their_friend} wanted to play {game}. But then dark clouds came, and it began to rain. "
        + s.pick(
            "They got all wet and ran home.",
            "It fell faster and faster, so they went inside.",
            "They ran to the house.",
        ),
        s.say(friend.name, s.pick("Now we cannot play.", "The day is ruined.", "I do not like rain."), "said")
        + f" {hero.name} looked out of the window and thought. Then {hero.they} had an idea. "
        + s.say(hero.name, s.pick("We can have fun inside!", "Come with me!", "I know what we can do!"), "said"),
        f"They {inside}. " + s.pick("They laughed a lot.", "It was so much fun.", "They forgot about the rain."),
        s.pick(
            "When the sun came out again, they did not even notice.",
            f"Then the rain stopped, and there was a rainbow over {s.place}.",
            f"{friend.name} said that it was the best day of the week.",
        ),
    ]


def race(s: Scene) -> list[str]:
    """In a race, one stops to help, and that counts more."""
    hero, friend = s.hero, s.friend
    goal = s.pick("the old oak", "the bridge", "the gate", "the big rock")
    return [
        f"{hero.name} and {s.their_friend} had a race to {goal}. "
        + s.say(friend.name, s.pick("I am the fastest!", "I will win!", "You cannot catch me!"), "shouted")
        + " One, two, three, and they ran.",
        s.pick(f"{friend.name} was in front.", f"{friend.name} ran as fast as the wind.")
        + f" But then {friend.name} fell over a root and hurt {friend.their} knee. "
        + s.pick(f"{hero.name} could win now.", f"Now {hero.name} was in front."),
        f"But {hero.name} stopped and went back. "
        + s.say(hero.name, s.pick("Are you hurt?", "Take my hand.", "Let me help you."), "asked", "said")
        + f" {hero.name} helped {friend.name} get up. They walked to {goal} side by side.",
        s.say(friend.name, s.pick("You are the real winner.", "Thank you for stopping."), "said")
        + " "
        + s.pick("They were both happy.", "A good friend is better than a race.", "Then they laughed and went home."),
    ]


def surprise(s: Scene) -> list[str]:
    """A birthday seems forgotten, and is not."""
    hero, friend, gift = s.hero, s.friend, s.rng.choice(TREASURES)
    return [
        f"It was {hero.name}'s birthday. But nobody said a word about it. "
        + s.pick(f"{hero.name} felt sad.", f"{hero.name} thought that everybody had forgotten.")
        + f" Even {s.their_friend} did not come to play.",
        s.pick(f"{hero.name} walked home slowly.", f"{hero.name} sat alone for a long time and then went home.")
        + " It was dark in the house. "
        + s.say(hero.name, "Is anybody here?", "asked")
        + " Then the light went on.",
        f'"Surprise!" they all shouted. {friend.name} was there, and {hero.their} {s.helper.name} had made a cake. '
        + f"{friend.name} gave {hero.them} {a(gift)}. "
        + s.say(hero.name, s.pick(f"I always wanted {a(gift)}!", "You did not forget!"), "said", "shouted"),
        s.pick(
            "They ate cake and danced all evening.",
            f"It was the best birthday that {hero.name} had ever had.",
            f"{hero.name} was the happiest {hero.kind} in the world.",
        ),
    ]


def helping_up(s: Scene) -> list[str]:
    """An animal is stuck and is helped down."""
    hero, friend, animal = s.hero, s.friend, s.other_animal(("kitten", "chick", "squirrel", "lamb"))
    stuck = s.pick("in a tree", "on the roof", "in a deep hole", "behind a fence")
    tool = s.pick("ladder", "long rope", "big basket", "wooden board")
    return [
        f"{upper_first(s.at_place)}, {hero.name} heard a small cry. A {animal} was stuck {stuck}! "
        + s.pick(f"The {animal} was shaking.", f"The {animal} looked at {hero.them} with big eyes."),
        f"{hero.name} tried to reach it, but {hero.they} was too small. "
        + s.say(hero.name, s.pick("Help! Please help!", "Can somebody help us?"), "called", "shouted")
        + f" {upper_first(s.their_friend)} heard {hero.them} and came with {a(tool)}.",
        f"Together they used the {tool}. "
        + f"{s.pick('Slowly', 'Carefully', 'Bit by bit')}, they got the {animal} out. "
        + s.say(friend.name, s.pick("We did it!", "Now you are safe."), "said")
        + f" The {animal} was happy and "
        + s.pick("jumped around them.", "ran to its mother.", "sat on the grass in the sun."),
        s.pick(
            f"{hero.name} and {friend.name} were proud of what they had done.",
            f"Every day after that, the {animal} came to see them.",
            "Two friends can do what one cannot.",
        ),
    ]


def trading(s: Scene) -> list[str]:
    """Two want the same toy and find a way."""
    hero, friend, toy = s.hero, s.friend, s.rng.choice(TOYS)
    return [
        f"There was {a(toy)} {s.at_place}. {hero.name} wanted to play with it. But {s.their_friend} wanted it too. "
        + s.say(hero.name, s.pick("I saw it first!", "Give it to me!", "It is my turn!"), "shouted")
        + " "
        + s.say(friend.name, s.pick("No, it is mine!", "No, I had it first!"), "shouted"),
        f"They both pulled at the {toy}. "
        + s.pick("Then they both fell down.", "It almost broke.", "They were both very angry.")
        + f" {upper_first(s.hero.their)} {s.helper.name} came to see what was going on. "
        + s.say(s.the_helper, s.pick("You can take turns.", "What if you play together?"), "said"),
        f"{hero.name} thought about it. "
        + s.say(hero.name, s.pick("I am sorry. You can go first.", "Let us play together."), "said")
        + f" {friend.name} smiled. "
        + s.pick(
            f"First {friend.name} played with the {toy}, and then {hero.name} did.",
            f"So they played with the {toy} together.",
        ),
        s.pick(
            "It was much more fun than before.",
            "They never fought about a toy again.",
            f"In the evening, {hero.name} and {friend.name} were best friends.",
        ),
    ]


PLOTS: tuple[Plot, ...] = (
    lost_and_found,
    sharing,
    friendly_noise,
    broken_thing,
    mended_toy,
    planting,
    learning,
    rainy_plan,
    race,
    surprise,
    helping_up,
    trading,
)
