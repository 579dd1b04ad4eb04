import numpy as np

from scoter.reasoning.catalogue.facets import item_names, read_facets, shorten
from scoter.types import Catalog


def test_category_is_the_rarest_tag_and_department_the_commonest_telling_one():
    tags = (
        ("Sport", "Golf", "Balls"),
        ("Sport", "Golf", "Clubs"),
        ("Sport", "Golf", "Clubs"),
        ("Sport", "Swim", "Goggles"),
        ("Sport", "Swim", "Caps"),
        ("Sport",),
        (),
    )
    facets = read_facets(Catalog(tuple("abcdefg"), {"categories": tags}))
    category, department = facets["category"], facets["department"]

    def spoken(facet):
        return [facet.labels[code] if code >= 0 else None for code in facet.codes]

    assert spoken(category) == ["Balls", "Clubs", "Clubs", "Goggles", "Caps", "Sport", None]
    assert spoken(department) == ["Golf", "Golf", "Golf", "Swim", "Swim", "Sport", None]


def test_category_does_not_depend_on_the_order_of_tags():
    tags = (
        ("Pizza", "Food"),
        ("Food", "Pizza"),
        ("Food", "Sushi"),
        ("Bars",),
        ("Bars", "Food"),
        ("Bars",),
        ("Bars",),
        ("Bars",),
    )
    first = read_facets(Catalog(tuple("abcdefgh"), {"categories": tags}))
    turned = read_facets(
        Catalog(tuple("abcdefgh"), {"categories": tuple(row[::-1] for row in tags)})
    )
    assert [first["category"].labels[code] for code in first["category"].codes[:3]] == [
        "Pizza",
        "Pizza",
        "Sushi",
    ]
    np.testing.assert_array_equal(first["category"].codes, turned["category"].codes)


def test_columns_that_hold_nothing_have_no_facet():
    toys = Catalog(
        ("a", "b"),
        {
            "title": ("", ""),
            "brand": ("", ""),
            "categories": ((), ()),
            "phrase": ("wooden train", ""),
        },
    )
    assert set(read_facets(toys)) == {"item"}
    assert item_names(toys) == ["wooden train", "b"]
    assert item_names(Catalog(("", "k"), {})) == ["item 0", "k"]


def test_price_bands_hold_equal_shares_and_skip_the_unknown():
    prices = (*np.arange(1.0, 101.0).tolist(), float("nan"))
    facet = read_facets(Catalog(tuple(str(item) for item in range(101)), {"price": prices}))[
        "price"
    ]
    assert facet.codes[-1] == -1
    np.testing.assert_array_equal(np.bincount(facet.codes[:-1]), [20] * 5)
    assert facet.labels[0] == "between 1.00 and 20.80"
    one = read_facets(Catalog(("a", "b"), {"price": (3.0, float("nan"))}))["price"]
    assert one.labels == ("about 3.00",)
    assert one.codes.tolist() == [0, -1]


def test_names_end_clean_and_within_budget():
    assert (
        shorten("Hand &amp; Body\n Lotion, 100 % Vegetarian, 16 fl ozs.")
        == "Hand & Body Lotion, 100 % Vegetarian, 16 fl ozs"
    )
    assert shorten("x" * 100, 30) == "x" * 30
    long = shorten("Anti-Aging Cream, Firming - with Peptides (and more)", 27)
    assert long == "Anti-Aging Cream, Firming"
