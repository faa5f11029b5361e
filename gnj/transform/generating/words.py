"""The words that fields of shops, listings, postings and contacts are named with, and which of them mean the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_SYNONYMS: Final = {
    # What a product is told by.
    "id": "id ids identifier identifiant uuid guid uid kennung",
    "sku": "sku stock-keeping-unit artikelnummer artikelnr artnr art-nr item-number item-no item-code article-number article-no part-sku",
    "reference": "reference ref referenz référence",
    "number": "number no nr num nummer numero numéro",
    "gtin": "gtin ean upc barcode isbn jan bar-code code-barres code-barre strichcode ean-code upc-code",
    "mpn": "mpn part-number part-no manufacturer-part-number manufacturer-number manufacturer-id herstellernummer model-number",
    "slug": "slug handle permalink-slug",
    # What it says.
    "title": "title name titel titre nom headline heading bezeichnung designation désignation libelle libellé caption",
    "description": "description desc descr descriptif body content encoded info information about beschreibung details text langtext copy narrative remarks body-html full-description",
    "summary": "summary excerpt teaser abstract kurzbeschreibung kurztext intro",
    "keyword": "keyword tag label schlagwort stichwort mot-cle",
    "category": "category categorie catégorie kategorie warengruppe produktgruppe famille rubrik rubrique genre product-type product-group product-category google-product-category",
    "brand": "brand marke marque manufacturer hersteller fabricant vendor maker",
    "material": "material matériau materiau werkstoff",
    "color": "color colour farbe couleur",
    "size": "size größe groesse taille grösse",
    "condition": "condition zustand état etat",
    # What it costs.
    "price": "price prices pricing preis prix precio amount betrag montant",
    "sale": "sale special discounted discount promo promotional promotion reduced aktionspreis angebot deal",
    "regular": "regular list original rrp msrp uvp was old retail compare-at strike streichpreis suggested recommended",
    "cost": "cost purchase wholesale einkauf einkaufspreis ek achat",
    "shipping": "shipping delivery versand lieferung livraison freight postage",
    "tax": "tax vat mwst steuer tva",
    "currency": "currency währung waehrung devise currency-code price-currency",
    # How much of it is there.
    "stock": "stock quantity qty inventory bestand lagerbestand quantite quantité stock-quantity stock-level inventory-quantity quantity-in-stock available-quantity menge quantite-en-stock",
    "availability": "availability available instock in-stock stock-status stock-availability verfügbarkeit verfuegbarkeit verfügbar disponibilite disponibilité disponible lieferbar purchasable",
    "weight": "weight gewicht poids grams gram weight-grams mass",
    "width": "width breite largeur",
    "height": "height höhe hoehe hauteur",
    "length": "length länge laenge longueur",
    "leadtime": "lead-time delivery-time lieferzeit shipping-time handling-time délai delai delai-livraison",
    "active": "active aktiv actif enabled published-flag",
    # Where it is seen.
    "url": "url uri link href src permalink deeplink deep-link lien adresse-web web-link buy-url",
    "image": "image img picture pic photo bild foto thumbnail thumb cover media gallery bilder",
    "video": "video movie film clip",
    # Who has a part in it.
    "company": "company organisation organization employer firm firma unternehmen entreprise société societe business",
    "merchant": "merchant shop store seller advertiser retailer program händler haendler boutique",
    "author": "author creator writer autor auteur byline",
    "organizer": "organizer organiser host veranstalter organisateur promoter",
    "agent": "agent broker realtor makler",
    "firstname": "first-name given-name vorname prénom prenom forename",
    "lastname": "last-name surname family-name nachname",
    "position": "position job-title role occupation stelle poste",
    "email": "email mail courriel e-mail email-address mail-address",
    "phone": "phone telephone tel mobile telefon téléphone handy phone-number telephone-number",
    # Where it is.
    "address": "address addr adresse street-address address-line line strasse straße rue street",
    "city": "city town ort stadt ville locality municipality",
    "zip": "zip zipcode postcode postalcode plz postal-code zip-code post-code code-postal postleitzahl",
    "region": "region state province bundesland county",
    "country": "country land pays nation",
    "location": "location place venue ort standort lieu",
    "latitude": "latitude lat",
    "longitude": "longitude lng lon long-itude",
    # When it is.
    "date": "date datetime timestamp datum day date-time",
    "time": "time uhrzeit heure",
    "created": "created create creation added signup registered signed-up inserted",
    "updated": "updated update modified modification changed last-updated last-modified date-modified",
    "published": "published posted publication pub publish first-published listed veröffentlicht",
    "start": "start starts begin begins from beginn début debut",
    "end": "end ends until finish ende fin",
    "year": "year jahr année annee",
    "birthday": "birthday birth-date date-of-birth dob geburtstag",
    "first": "first",
    "last": "last latest",
    # How much of anything.
    "min": "min minimum lowest from-price",
    "max": "max maximum highest",
    "count": "count total-count number-of anzahl nombre",
    "rating": "rating score stars bewertung note average average-rating rating-value",
    "review": "review reviews comment",
    "salary": "salary wage pay compensation gehalt salaire",
    "bedroom": "bedroom bed",
    "bathroom": "bathroom bath",
    "area": "area floor-area living-area square-meters square-feet sqm sqft wohnfläche wohnflaeche surface",
    "page": "page pages seite",
    "language": "language lang locale sprache langue",
    # What becomes of it.
    "status": "status zustand-status",
    "type": "type kind typ art",
    "unsubscribed": "unsubscribed opted-out opt-out opted-out-of-email unsubscribe optout",
    "short": "short kurz court",
    "long": "long lang-text",
    "featured": "featured highlight highlighted",
    "remote": "remote homeoffice telework",
    "department": "department team abteilung division",
    "employment": "employment contract-type",
    "energy": "energy epc energy-rating energy-class energieklasse",
    "origin": "origin herkunft origine",
}

_NEAR: Final = {
    ("id", "sku"): 0.8,
    ("id", "reference"): 0.85,
    ("sku", "reference"): 0.85,
    ("id", "number"): 0.75,
    ("sku", "number"): 0.6,
    ("reference", "number"): 0.75,
    ("id", "gtin"): 0.5,
    ("sku", "mpn"): 0.55,
    ("id", "slug"): 0.6,
    ("url", "slug"): 0.5,
    ("description", "summary"): 0.7,
    ("title", "summary"): 0.5,
    ("title", "position"): 0.8,
    ("category", "keyword"): 0.7,
    ("category", "type"): 0.7,
    ("price", "cost"): 0.8,
    # Where the amount is written with its currency.
    ("price", "currency"): 0.75,
    ("price", "salary"): 0.5,
    ("stock", "availability"): 0.75,
    ("active", "availability"): 0.5,
    ("active", "status"): 0.5,
    ("rating", "review"): 0.75,
    ("location", "city"): 0.75,
    ("location", "address"): 0.75,
    ("address", "city"): 0.4,
    ("company", "merchant"): 0.75,
    ("company", "brand"): 0.55,
    ("merchant", "brand"): 0.5,
    ("author", "organizer"): 0.5,
    ("date", "time"): 0.7,
    ("date", "published"): 0.7,
    ("date", "created"): 0.65,
    ("date", "updated"): 0.55,
    ("date", "start"): 0.6,
    ("created", "published"): 0.8,
    ("updated", "published"): 0.5,
    ("region", "country"): 0.4,
    ("status", "availability"): 0.6,
    ("leadtime", "shipping"): 0.5,
    ("employment", "type"): 0.6,
}

_NOISE: Final = """
    affiliate tracking product produkt produit verkauf vente article artikel item entry record object property listing job event posting offer variant main primary default base
    the a an of de la le du en in on at by for and or und et is has was attr attribute field value data info meta metadata node details detail
    full current display search public absolute internal external local web html page-url total my your our yn code rate per eur usd gbp ttc brutto gross
    lookup result hit list-item element aggregate custom standard median std kg lb lbs sq m tax-included
"""
"""They say little: what has them and what has them not may be the same."""

GENERIC_WORDS: Final = frozenset("name value text label content amount title rendered".split())
"""Beside what says more they say nothing: `brand.name`, `price.amount`, `offer text`."""

PICTURES: Final = frozenset({"image", "video"})
"""Their links are what is meant by them."""

TOGETHER: Final[Mapping[frozenset[str], str]] = MappingProxyType(
    {frozenset(("short", "description")): "summary", frozenset(("long", "description")): "description"}
)
"""What two meanings are together, in any order and along a path: `copy.short`."""

MOMENTS: Final = frozenset({"created", "updated", "published", "start", "end", "birthday"})
"""Their dates are what is meant by them."""

DISTINCT: Final = frozenset(
    "id url email phone count date time year sale cost shipping tax min max start end first last created updated published short long unit".split()
)
"""They tell one field from its neighbour: a sale price is not the price."""


_UNSTORABLE: Final = re.compile(r"[\0\ud800-\udfff]")


def plain(text: str) -> str:
    """Without case and accents: `Größe` is `grosse`."""
    return "".join(each for each in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(each))


def storable(text: str) -> bool:
    """Whether a rule may hold `text`: JSON that is stored has no NUL and no surrogate without its other half."""
    return _UNSTORABLE.search(text) is None


def singular(word: str) -> str:
    """An English plural's singular; what is none stays: `address`, `status`, `preis`."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 5 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _phrases() -> dict[tuple[str, ...], str]:
    return {
        tuple(singular(plain(word)) for word in phrase.split("-")): meaning
        for meaning, phrases in reversed(_SYNONYMS.items())
        for phrase in phrases.split()
    }


PHRASES: Final[Mapping[tuple[str, ...], str]] = MappingProxyType(_phrases())
"""What words in a row mean; words that mean the same have the same meaning here."""

LONGEST_PHRASE: Final = max(map(len, PHRASES))

NOISE: Final = frozenset(singular(plain(word)) for word in _NOISE.split())

PARTS: Final = frozenset(
    {"id", *(word for word in {*NOISE, *(word for each in PHRASES for word in each)} if len(word) > 2)}
)
"""What a word may be put together from that is not known as a whole: `imageurl`, `verkaufspreis`."""

NEAR: Final[Mapping[frozenset[str], float]] = MappingProxyType({frozenset(pair): near for pair, near in _NEAR.items()})
"""How alike two meanings are that are not the same, in 0 to 1."""
