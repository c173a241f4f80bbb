import json
import math

import numpy as np
import pytest
import torch
from networks import narrow, random_alexnet
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from nrknet import NRKNet, evaluate
from nrknet.config import PRESETS
from nrknet.datasets import Masked, Pair, find_photos, pairs_from_folder
from nrknet.evaluation import score_restored
from nrknet.inference import Deblurrer
from nrknet.metrics import METRICS, psnr, psnr_affine, ssim_gaussian, ssim_uniform
from nrknet.noreference import changes
from nrknet.perceptual import Lpips


@pytest.fixture(scope="module")
def cat():
    return data.chelsea()[:96, :128].copy()


@pytest.fixture(scope="module")
def noisy(cat):
    noise = np.random.default_rng(0).normal(0, 6, cat.shape)
    return np.clip(cat + noise, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def identity():
    return Deblurrer(NRKNet(narrow(PRESETS["lite"])))


def save_pairs(root, pairs):
    for folder in ("source", "target"):
        (root / folder).mkdir()
    for name_blurred, blurred, name_sharp, sharp in pairs:
        Image.fromarray(blurred).save(root / "source" / name_blurred)
        Image.fromarray(sharp).save(root / "target" / name_sharp)


def test_psnr_is_that_of_scikit_image_and_infinite_for_equal_images(cat, noisy):
    assert psnr(noisy, cat) == pytest.approx(peak_signal_noise_ratio(cat, noisy), abs=1e-9)
    assert psnr(cat, cat) == math.inf


def test_the_affine_psnr_ignores_exposure_and_colour_cast(cat):
    darker = np.rint(cat * np.array([0.5, 0.6, 0.7]) + 12).astype(np.uint8)
    assert psnr(darker, cat) < 20
    assert psnr_affine(darker, cat) > 45


def test_the_affine_psnr_is_never_below_the_plain_one(cat, noisy):
    assert psnr_affine(noisy, cat) >= psnr(noisy, cat)


def test_the_two_ssims_differ_and_are_one_for_equal_images(cat, noisy):
    assert ssim_uniform(cat, cat) == pytest.approx(1)
    assert ssim_gaussian(cat, cat) == pytest.approx(1)
    assert abs(ssim_uniform(noisy, cat) - ssim_gaussian(noisy, cat)) > 1e-3


@pytest.mark.parametrize("name", METRICS)
def test_metrics_refuse_other_types_and_unequal_sizes(name, cat):
    with pytest.raises(ValueError, match="uint8"):
        METRICS[name](cat.astype(np.float32), cat)
    with pytest.raises(ValueError, match="one size"):
        METRICS[name](cat[:-1], cat)


def test_a_wrong_layout_is_one_sentence(tmp_path, cat):
    with pytest.raises(ValueError, match="source/ is missing"):
        pairs_from_folder(tmp_path)
    save_pairs(tmp_path, [("a.png", cat, "a.png", cat)])
    Image.fromarray(cat).save(tmp_path / "target" / "extra.png")
    with pytest.raises(ValueError, match=r"source/ holds 1 photos and target/ 2"):
        pairs_from_folder(tmp_path)


def test_an_identity_network_scores_what_the_input_scores(tmp_path, cat, noisy, identity):
    save_pairs(tmp_path, [("a.png", noisy, "a.png", cat)])
    scores = evaluate(identity, pairs_from_folder(tmp_path), model_name="identity")
    mean = scores.mean
    for name in METRICS:
        assert mean[name] == mean[f"{name}_input"]
    assert mean["share_better"] == 0
    stored = json.loads(scores.to_json())
    assert stored["model"] == "identity"
    assert stored["images"][0]["after"]["psnr"] == pytest.approx(psnr(noisy, cat), abs=1e-4)


def test_a_pair_of_unequal_size_is_named(tmp_path, cat, identity):
    save_pairs(tmp_path, [("a.png", cat, "a.png", cat[:-1])])
    with pytest.raises(ValueError, match=r"a\.png .*differ in size"):
        evaluate(identity, pairs_from_folder(tmp_path))


def test_no_photos_and_an_unknown_protocol_are_refused(tmp_path, identity):
    with pytest.raises(ValueError, match="no photos"):
        evaluate(identity, [])
    with pytest.raises(ValueError, match="unknown protocol 'x'; known: default"):
        evaluate(identity, [Pair("a", tmp_path, tmp_path)], "x")


def test_saved_photos_score_what_the_method_that_saved_them_scores(tmp_path, cat, noisy, identity):
    save_pairs(tmp_path, [("a.png", noisy, "b.png", cat)])
    (tmp_path / "mine").mkdir()
    Image.fromarray(noisy).save(tmp_path / "mine" / "a.png")
    Image.fromarray(cat).save(tmp_path / "mine" / "of no pair.png")
    pairs = pairs_from_folder(tmp_path)
    scores = score_restored(tmp_path / "mine", pairs, name="mine")
    assert scores.images[0].after == evaluate(identity, pairs).images[0].after
    assert scores.model == "mine"
    Image.fromarray(cat).save(tmp_path / "mine" / "a.png")
    assert score_restored(tmp_path / "mine", pairs).mean["psnr"] == math.inf


def test_saved_photos_that_are_missing_doubled_or_of_another_size_are_named(tmp_path, cat):
    save_pairs(tmp_path, [(f"{n}.png", cat, f"{n}.png", cat) for n in ("a", "b")])
    pairs, mine = pairs_from_folder(tmp_path), tmp_path / "mine"
    with pytest.raises(ValueError, match="mine: no such folder"):
        score_restored(mine, pairs)
    mine.mkdir()
    Image.fromarray(cat).save(mine / "a.png")
    with pytest.raises(ValueError, match=r"holds no restored photo of b \(1 of 2 missing\)"):
        score_restored(mine, pairs)
    Image.fromarray(cat[:-1]).save(mine / "b.png")
    with pytest.raises(ValueError, match=r"b\.png is 128x95, expected 128x96 pixels"):
        score_restored(mine, pairs)
    Image.fromarray(cat).save(mine / "b.bmp")
    with pytest.raises(ValueError, match=r"holds both b\.bmp and b\.png"):
        score_restored(mine, pairs)


def test_resized_pairs_are_reduced_before_anything_is_scored(tmp_path, cat, noisy, identity):
    save_pairs(tmp_path, [("a.png", noisy, "a.png", cat)])
    scores = evaluate(identity, pairs_from_folder(tmp_path), resize=(64, 48))
    small = [np.asarray(Image.fromarray(x).resize((64, 48), Image.Resampling.BICUBIC)) for x in (noisy, cat)]
    assert scores.images[0].before["psnr"] == psnr(*small)
    assert scores.images[0].before["psnr"] > psnr(noisy, cat) + 3, "averaging takes noise away"
    assert json.loads(scores.to_json())["resize"] == "64x48"


def test_lpips_is_scored_for_input_and_output_where_it_is_given_and_else_not_there(tmp_path, cat, noisy, identity):
    save_pairs(tmp_path, [("a.png", noisy, "a.png", cat)])
    pairs, lpips = pairs_from_folder(tmp_path), Lpips(random_alexnet())
    scores = evaluate(identity, pairs, lpips=lpips)
    assert scores.images[0].before["lpips"] == scores.images[0].after["lpips"] == lpips.score(noisy, cat)
    assert scores.mean["lpips_input"] == scores.mean["lpips"] > 0
    assert "lpips" not in evaluate(identity, pairs).images[0].after
    theirs = evaluate(identity, pairs, "nrknet", lpips=lpips).images[0].after
    assert list(theirs) == ["psnr", "ssim_gaussian", "lpips_bgr"]
    assert theirs["lpips_bgr"] == lpips.score(noisy[..., ::-1].copy(), cat[..., ::-1].copy())


def test_the_result_says_where_it_was_measured(tmp_path, cat, identity):
    save_pairs(tmp_path, [("a.png", cat, "a.png", cat)])
    pairs = pairs_from_folder(tmp_path)
    environment = evaluate(identity, pairs).environment
    assert environment["torch"] == torch.__version__ and environment["threads"] == torch.get_num_threads()
    assert environment["device"] == "cpu" and environment["tile"] == identity.tile
    assert "device" not in score_restored(tmp_path / "source", pairs).environment, "no network ran"


def save_masked(root, photo, mask):
    for name, pixels in (("image/out_of_focus0001.png", photo), ("gt/out_of_focus0001.png", mask)):
        (root / name).parent.mkdir()
        Image.fromarray(pixels).save(root / name)


def test_photos_without_a_truth_are_measured_inside_and_outside_the_white_of_the_mask(tmp_path, cat, noisy, identity):
    mask = np.zeros(cat.shape[:2], np.uint8)
    mask[:, :40] = 255
    save_masked(tmp_path, cat, mask)
    photos = find_photos("cuhk", tmp_path)
    (tmp_path / "mine").mkdir()
    Image.fromarray(noisy).save(tmp_path / "mine" / "out_of_focus0001.png")
    scores = score_restored(tmp_path / "mine", photos, "cuhk", name="mine")
    assert scores.images[0].after == changes(noisy, cat, mask > 127)
    assert scores.images[0].before == {} and scores.mean["sharpening_blurred"] > 0
    assert evaluate(identity, photos, "cuhk").images[0].after["sharpening"] == 0
    unmasked = evaluate(identity, [Masked("a", photos[0].blurred)], "cuhk")
    assert list(unmasked.images[0].after) == ["sharpening"] and math.isnan(unmasked.mean["unchanged_sharp"])


def test_masks_are_brought_to_the_size_of_their_photos(tmp_path, cat, identity):
    mask = np.zeros(cat.shape[:2], np.uint8)
    mask[:, :64] = 255
    save_masked(tmp_path, cat, mask)
    scores = evaluate(identity, find_photos("cuhk", tmp_path), "cuhk", resize=(64, 48))
    assert scores.images[0].after["sharpening_blurred"] == 0
    assert scores.images[0].after["unchanged_sharp"] == math.inf


def test_nothing_is_restored_before_every_file_has_been_looked_at(tmp_path, cat):
    save_pairs(tmp_path, [("a.png", cat, "a.png", cat), ("b.png", cat, "b.png", cat[:-1])])

    class Never(Deblurrer):
        def __call__(self, image, *, progress=None):
            pytest.fail("a photo was restored")

    with pytest.raises(ValueError, match="differ in size"):
        evaluate(Never(NRKNet(narrow(PRESETS["lite"]))), pairs_from_folder(tmp_path))
    (tmp_path / "target" / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"Cannot read .*b\.png"):
        evaluate(Never(NRKNet(narrow(PRESETS["lite"]))), pairs_from_folder(tmp_path))
