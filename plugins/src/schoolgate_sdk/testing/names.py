"""Names as British schools have them: many origins, diacritics, apostrophes, hyphens, spaces."""

from __future__ import annotations

import unicodedata
from random import Random

from schoolgate_sdk.testing.randomness import chance


def _listed(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list."""
    return tuple(name.strip() for name in text.split(","))


_FEMALE = _listed("""
    Olivia, Amelia, Isla, Ava, Ivy, Freya, Lily, Florence, Mia, Willow, Rosie, Sophia, Isabella, Grace,
    Daisy, Sienna, Poppy, Elsie, Emily, Ella, Evelyn, Phoebe, Evie, Charlotte, Harper, Millie, Matilda,
    Maya, Sophie, Alice, Emilia, Isabelle, Ruby, Luna, Maisie, Aria, Penelope, Mila, Bonnie, Eva,
    Hallie, Eliza, Ada, Violet, Esme, Arabella, Imogen, Jessica, Fatima, Aisha, Zainab, Maryam,
    Khadija, Amina, Priya, Ananya, Diya, Wei, Mei, Chidinma, Adaeze, Temitope, Zofia, Hanna, Oliwia,
    Zoë, Chloé, Renée, Siân, Seren, Niamh, Aoife, Saoirse, Caoimhe, Gráinne, Róisín, Brónagh, Sinéad,
    Amélie, Inés, Léa, Łucja, Şeyma, Bronwen
""")
_MALE = _listed("""
    Noah, Oliver, George, Arthur, Muhammad, Leo, Harry, Oscar, Archie, Henry, Theo, Jack, Charlie,
    Freddie, Theodore, Finley, Jude, Luca, Alfie, Arlo, Hudson, Ezra, Roman, Reuben, Tommy, Thomas,
    William, Isaac, Adam, Joshua, Lucas, James, Max, Edward, Teddy, Louie, Mason, Ethan, Albie, Rory,
    Elijah, Hugo, Jaxon, Hunter, Daniel, Samuel, Yusuf, Ibrahim, Ali, Omar, Hassan, Arjun, Aarav,
    Rohan, Kabir, Jun, Hao, Chinedu, Emeka, Tunde, Kacper, Jakub, Szymon, Mateusz, Rhys, Dylan, Gethin,
    Tomos, Oisín, Cian, Seán, Pádraig, Fionn, Eoghan, Ruairí, Tiarnán, José, André, Zoltán, Jürgen,
    Søren, Łukasz, Emre, D'Angelo, Jean-Luc
""")
_SURNAMES = _listed("""
    Smith, Jones, Taylor, Brown, Williams, Wilson, Johnson, Davies, Patel, Robinson, Wright, Thompson,
    Evans, Walker, White, Roberts, Green, Hall, Wood, Jackson, Clarke, Khan, Hughes, Edwards, Hill,
    Moore, Clark, Harrison, Scott, Young, Morris, Lewis, Ward, Cooper, Turner, Carter, Phillips,
    Mitchell, Lee, Ahmed, Hussain, Ali, Begum, Singh, Kaur, Sharma, Shah, Gupta, Chowdhury, Rahman,
    Iqbal, Malik, Okafor, Adeyemi, Okonkwo, Mensah, Boateng, Osei, Nwosu, Chen, Wong, Li, Zhang,
    Nguyen, Tran, Kowalski, Nowak, Wiśniewska, Wójcik, Szymański, Popescu, Ionescu, Ferreira,
    Gonçalves, Silva, García, Muñoz, Núñez, Rossi, Müller, Schröder, Lefèvre, Björnsson, Yılmaz, Çelik,
    Öztürk, O'Brien, O'Connor, O'Neill, O'Sullivan, D'Souza, D'Arcy, N'Dour, Ní Bhriain,
    Mac Giolla Phádraig, de la Cruz, van der Berg, von Hohenberg, St. John, McDonald, MacLeod,
    Fitzgerald, Lloyd-Jones, Price-Evans, Llewellyn, Gruffydd, Bowen, Baker, Bennett, Gray, Shaw,
    Ellis, Marsh, Reid, Foster, Palmer, Knight
""")
_TITLES_FEMALE = ("Mrs", "Miss", "Ms", "Dr")
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "ı": "i"})


def forename(random: Random, sex: str) -> str:
    """Return a forename for a person of sex F or M."""
    return random.choice(_FEMALE if sex == "F" else _MALE)


def surname(random: Random) -> str:
    """Return a surname; one in twenty-five is double-barrelled."""
    name = random.choice(_SURNAMES)
    if "-" not in name and " " not in name and chance(random, 0.04):
        return f"{name}-{random.choice(_SURNAMES[:60])}"
    return name


def title(random: Random, sex: str) -> str:
    """Return a form of address for an adult."""
    if sex == "M":
        return "Dr" if chance(random, 0.05) else "Mr"
    return random.choices(_TITLES_FEMALE, (50, 25, 20, 5))[0]


def ascii_letters(name: str) -> str:
    """Return the unaccented lower-case letters of a name, as e-mail addresses have them."""
    plain = unicodedata.normalize("NFD", name.lower().translate(_PLAIN))
    return "".join(letter for letter in plain if letter.isascii() and letter.isalpha())
