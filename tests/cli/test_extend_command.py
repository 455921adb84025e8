"""cs336 tokenizer train --extend and --max-token-length"""

from cs336.data import write_stories
from cs336.tokenizer import Tokenizer, train_bpe


def test_the_command_extends(cs336, tmp_path):
    write_stories(tmp_path / "a.txt", count=200)
    train = ["tokenizer", "train", "a.txt", "--max-token-length", "6"]
    assert cs336(*train, "--vocab-size", "400", "--output", "base.json").returncode == 0
    grow = [*train, "--vocab-size", "900", "--output", "grown.json", "--extend", "base.json"]
    done = cs336(*grow)
    assert done.returncode == 0, done.stderr
    expected = train_bpe(tmp_path / "a.txt", 900, ["<|endoftext|>"], max_token_length=6)
    assert Tokenizer.load(tmp_path / "grown.json") == expected
    refused = cs336(*grow, "--pattern", "gpt2")
    assert refused.returncode == 2
    assert "leave --pattern out: the tokenizer to extend says it" in refused.stderr
    refused = cs336("tokenizer", "train", "a.txt", "--vocab-size", "0", "--output", "b.json", "--extend", "base.json")
    assert refused.returncode == 1
    assert "vocab_size" in refused.stderr
