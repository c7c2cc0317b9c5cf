import torch

from inference.d2l.selection import select


def test_it_keeps_the_telling_words_of_the_telling_sentences() -> None:
    filler, fact = torch.tensor([-5.0, -5.0, 0.1, -5.0]), torch.tensor([4.0, -4.0, 5.0, 6.0, 4.0, -4.0])
    kept = select([filler, fact], room=4)
    assert [(each.sentence, each.places) for each in kept] == [(1, [0, 2, 3, 4])]


def test_what_room_is_left_goes_to_the_words_between() -> None:
    fact = torch.tensor([4.0, -4.0, 5.0, 6.0])
    assert [each.places for each in select([fact], room=10)] == [[0, 1, 2, 3]]


def test_a_sentence_that_does_not_fit_makes_way_for_one_that_does() -> None:
    long, short = torch.full((6,), 9.0), torch.full((3,), 8.0)
    assert [each.sentence for each in select([short, long, short], room=7)] == [1]
    assert [each.sentence for each in select([short, long, short], room=5)] == [0]


def test_where_nothing_fits_the_best_words_are_kept_in_order() -> None:
    assert select([torch.tensor([1.0, 5.0, 2.0, 4.0])], room=2)[0].places == [1, 3]


def test_a_document_that_says_nothing_still_makes_an_adapter() -> None:
    assert select([torch.tensor([-3.0, -1.0])], room=8)[0].places == [0, 1]
