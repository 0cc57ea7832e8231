"""The door for pictures: every kind is read rightly, or an error says why not."""

import numpy as np
import pytest
import torch
from PIL import Image

from intr_nb.core.images import as_trained, normalise, pad_batch, read_picture, to_rgb, to_tensor

PICTURE = np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)


def test_all_kinds_of_one_picture_agree():
    rgb, grey = Image.fromarray(PICTURE), Image.fromarray(PICTURE).convert("L")
    for same in (
        rgb,
        PICTURE,
        PICTURE.astype(np.float32) / 255,
        PICTURE.astype(np.uint16) * 257,
        rgb.convert("RGBA"),
    ):
        assert np.array_equal(to_rgb(same), PICTURE)
    for same in (
        grey,
        np.asarray(grey),
        np.asarray(grey)[..., None],
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
    ):
        assert np.array_equal(to_rgb(same), np.asarray(grey)[..., None].repeat(3, -1))
    assert np.abs(to_rgb(rgb.quantize(256)).astype(int) - PICTURE).mean() < 30
    assert to_rgb(Image.new("CMYK", (9, 9), (255, 0, 0, 0)))[0, 0].tolist()[0] < 60


def test_camera_rotation_is_applied(tmp_path):
    picture = Image.fromarray(PICTURE)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "phone.png", exif=exif)
    assert np.array_equal(to_rgb(Image.open(tmp_path / "phone.png")), np.rot90(PICTURE, -1))


def test_tensors_pass_and_batches_do_not():
    x = to_tensor(PICTURE, size=32)
    assert x.shape == (3, 32, 32) and to_tensor(x) is x
    with pytest.raises(ValueError, match="take one"):
        to_tensor(x[None])


def test_padding_is_masked():
    batch = pad_batch([torch.ones(3, 10, 20), torch.ones(3, 18, 5)], labels=[1, 0], multiple=8)
    assert batch.images.shape == (2, 3, 24, 24) and batch.labels.tolist() == [1, 0]
    assert torch.equal(batch.images[:, 0] == 0, batch.mask) and (~batch.mask[1]).sum() == 18 * 5


@pytest.mark.parametrize("kind", [int, np.int32, np.int16, np.uint32, np.int8])
def test_integers_that_fit_8_bits_are_not_taken_for_16(kind):
    "Arithmetic makes them of a picture; as 16 bits they are nearly black, and nothing says so"
    with pytest.raises(ValueError, match=r"values 0 to 12[0-7].*picture\.astype\(np\.uint8\)"):
        to_rgb((PICTURE // 2).astype(kind))


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_a_picture_of_fewer_bits_in_16_is_not_read_as_black(tmp_path, bits):
    "A microscope's 12 bits in a file of 16; multiplied, they are right"
    few = (np.arange(400, dtype=np.uint16).reshape(20, 20) * 7919 % 2**bits).astype(np.uint16)
    Image.fromarray(few).save(tmp_path / "few.png")
    Image.fromarray(few).save(tmp_path / "few.tif")
    for same in (few, few.astype(">u2"), Image.fromarray(few), Image.fromarray(few.astype(np.int32))):
        with pytest.raises(ValueError, match="nearly black, so it is likely one of 12 bits"):
            to_rgb(same)
    for file in "few.png", "few.tif":
        with pytest.raises(ValueError, match=f"{file}' can't be read.*by 16"):
            read_picture(tmp_path / file)
    filled = few * 2 ** (16 - bits)
    assert np.abs(to_rgb(filled)[..., 0].astype(int) - few / (2**bits - 1) * 255).max() <= 1


def test_16_bits_may_be_dark_or_black():
    dark = np.full((9, 9), 4500, np.uint16)
    assert to_rgb(dark).max() == 18 and to_rgb(dark * 0).max() == 0
    assert np.array_equal(to_rgb(PICTURE.astype(int) * 257), PICTURE)


@pytest.mark.parametrize("ending", ["png", "webp", "jpg"])
def test_a_damaged_camera_tag_does_not_matter(tmp_path, ending):
    Image.new("RGB", (30, 20), (200, 40, 60)).save(tmp_path / f"a.{ending}", exif=b"Exif\x00\x00garbage")
    assert np.abs(read_picture(tmp_path / f"a.{ending}").astype(int) - (200, 40, 60)).max() < 5


def test_mirrored_views_are_pictures():
    for view in (PICTURE[:, ::-1], PICTURE[::-1], PICTURE[..., ::-1], PICTURE.transpose(1, 0, 2)[::-1, ::2]):
        assert np.array_equal(to_rgb(view), view.copy())
        assert torch.equal(as_trained(torch.nn.Identity(), view), normalise(view.copy()))


def test_floats_that_rounding_has_left_at_the_edge():
    for almost, byte in (1.0000001, 255), (1.0005, 255), (-1e-7, 0):
        assert np.unique(to_rgb(np.full((9, 9, 3), almost))).tolist() == [byte]
    for wrong, words in (1.01, "1.01"), (-0.01, "-0.01"), (200.0, "200"):
        with pytest.raises(ValueError, match=f"values {words}"):
            to_rgb(np.full((9, 9, 3), wrong))


def test_only_bytes_are_normalised():
    for wrong in (PICTURE.astype(int), PICTURE / 255, torch.zeros(3, 8, 8, dtype=torch.int64)):
        with pytest.raises(TypeError, match="expected torch.uint8"):
            normalise(wrong)


def test_a_file_that_is_no_picture_says_what_it_is(tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(ValueError, match="text.jpg' can't be read as a picture: not an image.*leave it out"):
        read_picture(tmp_path / "text.jpg")
    Image.fromarray(PICTURE.repeat(9, 0).repeat(9, 1)).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:3000])
    with pytest.raises(ValueError, match="cut.jpg' .*the file ends too early.*Ask the museum$"):
        read_picture(tmp_path / "cut.jpg", advice="Ask the museum")


def test_a_picture_that_is_no_file_is_opened_by_another():
    assert np.array_equal(read_picture("row 3", lambda: PICTURE), PICTURE)
    with pytest.raises(ValueError, match="'row 3' can't be read as a picture: no such file"):
        read_picture("row 3", lambda: Image.open("no such picture.png"))


def picture_in(mode):
    rgb = Image.new("RGB", (12, 10), (200, 40, 60))
    if mode == "LAB":
        from PIL import ImageCms

        return ImageCms.applyTransform(
            rgb,
            ImageCms.buildTransform(
                ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
            ),
        )
    return rgb.convert("RGBA").convert("RGBa") if mode == "RGBa" else rgb.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa"])
def test_every_mode_is_the_same_red(mode):
    assert np.abs(to_rgb(picture_in(mode)).astype(int) - (200, 40, 60)).max() <= 4
