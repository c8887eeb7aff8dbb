import pytest
from torch.utils.data import DataLoader, Dataset

from fashionclip.app.door import one_message
from fashionclip.images import UnreadableImageError


class _BadPhoto(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, position):
        raise UnreadableImageError("a.jpg: cannot be decoded. Replace the file.")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_photo_is_one_message_from_any_process(workers):
    with pytest.raises(SystemExit) as end, one_message():
        next(iter(DataLoader(_BadPhoto(), num_workers=workers)))
    assert end.value.code == "error: a.jpg: cannot be decoded. Replace the file."


def test_the_cause_is_found_below_hydras_wrapping():
    with pytest.raises(SystemExit, match=r"^error: a\.jpg$"), one_message():
        try:
            raise UnreadableImageError("a.jpg")
        except UnreadableImageError as error:
            raise RuntimeError("Error in call to target") from error


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), one_message():
        _ = 1 / 0
