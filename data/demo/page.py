"""Web pages of a few made-up sites: what a crawl finds around an article, and the article.

Each site has its own menu, cookie banner and footer, the same on all of its pages, and its own character set.
"""

import html
from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """What the pages of one site have in common."""

    host: str
    name: str
    menu: tuple[str, ...]
    banner: str
    footer: str
    language: str = "en"
    charset: str = "utf-8"
    header_charset: bool = True  # named in the Content-Type header too, or only in the page


@dataclass(frozen=True)
class Page:
    """One page; `article` is HTML."""

    url: str
    title: str
    article: str
    site: Site
    date: str

    def encoded(self) -> bytes:
        """The page as its server sends it; characters outside the site's set become references."""
        return render(self).encode(self.site.charset, "xmlcharrefreplace")


def render(page: Page) -> str:
    """The whole HTML document."""
    site, title = page.site, html.escape(page.title)
    menu = "\n".join(f'      <li><a href="/{_slug(entry)}/">{html.escape(entry)}</a></li>' for entry in site.menu)
    canonical = html.escape(page.url)
    return f"""<!DOCTYPE html>
<html lang="{site.language}">
<head>
  <meta charset="{site.charset}">
  <title>{title} | {html.escape(site.name)}</title>
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <link rel="canonical" href="{canonical}">
  <link rel="stylesheet" href="/static/site.css">
  <script>window.dataLayer = window.dataLayer || []; function track() {{ dataLayer.push(arguments); }}</script>
</head>
<body class="page">
<div id="cookie-banner" class="cookie-consent" role="dialog"><p>{html.escape(site.banner)}</p><button>OK</button></div>
<header class="site-header">
  <a class="brand" href="/">{html.escape(site.name)}</a>
  <nav class="navigation">
    <ul>
{menu}
    </ul>
  </nav>
</header>
<main>
<article>
<h1>{title}</h1>
{page.article}
</article>
</main>
<footer class="site-footer">
  <p>{html.escape(site.footer)}</p>
  <p class="updated">{page.date[:10]}</p>
</footer>
</body>
</html>
"""


def page_text(page_lines: list[str], title: str, site: Site) -> str:
    """The text of a page as a WET file has it: menu, banner and footer with the rest, a line each."""
    return "\n".join([f"{title} | {site.name}", site.banner, "OK", site.name, *site.menu, title, *page_lines, site.footer]) + "\n"


def _slug(text: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "-" for character in text.lower()).strip("-")


def manual(package: str, name: str) -> Site:
    """The manual of a package."""
    return Site(
        f"docs.{package}-manual.example.org",
        f"{name} manual",
        ("User guide", "API reference", "Building from source", "Release notes", f"Learn {name}"),
        f"The {name} manual uses cookies to remember your theme. By continuing you agree to our cookie policy.",
        f"Copyright 2005-2022, the {name} developers. Created with a static site generator.",
    )


MANUALS = {
    "numpy": manual("numpy", "NumPy"),
    "scipy": manual("scipy", "SciPy"),
    "torch": manual("torch", "PyTorch"),
    "sympy": manual("sympy", "SymPy"),
    "networkx": manual("networkx", "NetworkX"),
}
LANGUAGE_REFERENCE = Site(
    "reference.python-handbook.example.org",
    "Python handbook",
    ("Tutorial", "Library", "Language reference", "How-to guides", "Frequently asked questions"),
    "This site stores cookies on your computer to improve its search. Accept all cookies?",
    "The handbook is maintained by volunteers. Found a mistake on this page? Please report it.",
)
PACKAGE_INDEX = Site(
    "packages.index-of-python.example.com",
    "Index of packages",
    ("Help", "Sponsors", "Log in", "Register", "Project description", "Release history", "Download files"),
    "We and our 84 partners use cookies and similar technologies to measure the use of this site.",
    "Developed and maintained by the community, for the community. Donate today! Status: all systems operational.",
)
BLOG = Site(
    "blog.numerical-notebook.example.net",
    "The numerical notebook",
    ("Home", "Archive", "About the author", "Subscribe to the newsletter", "RSS"),
    "Like every blog in the world, this one uses cookies. Read our privacy policy or click the button.",
    "If you enjoyed this post, share it with a friend. Powered by coffee. All rights reserved.",
    charset="windows-1252",
)
SHEETS = Site(
    "cheatsheets.example.com",
    "Cheat sheets for busy people",
    ("All sheets", "New this week", "Submit a sheet", "Sign in", "Go premium"),
    "To show you relevant advertising we use cookies. You can change your choice at any time in the settings.",
    "Cheat sheets for busy people is not affiliated with any of the projects that it describes.",
    charset="iso-8859-1",
    header_charset=False,
)
FORUM = Site(
    "forum.scientific-computing.example.net",
    "Scientific computing forum",
    ("Categories", "Latest", "Top", "Sign up", "Search the forum"),
    "The forum needs cookies to keep you logged in.",
    "Powered by forum software, best viewed with JavaScript enabled.",
)
PEOPLE = Site(
    "people-directory.example.com",
    "Directory of people",
    ("Find a person", "Find a business", "Reverse phone look-up", "Remove my entry"),
    "People directory uses cookies. Continue to accept.",
    "Entries are supplied by our users. We do not check them.",
)
FOREIGN = {
    "de": Site(
        "wissen.example.de",
        "Wissen im Netz",
        ("Startseite", "Themen", "Über uns", "Impressum", "Datenschutz"),
        "Diese Seite verwendet Cookies. Mit der weiteren Nutzung erklären Sie sich damit einverstanden.",
        "Alle Rechte vorbehalten. Nachdruck nur mit Genehmigung der Redaktion.",
        "de",
        "iso-8859-1",
    ),
    "fr": Site(
        "savoirs.example.fr",
        "Savoirs en ligne",
        ("Accueil", "Rubriques", "À propos", "Mentions légales", "Nous écrire"),
        "En poursuivant votre navigation, vous acceptez l'utilisation de cookies.",
        "Tous droits réservés. Reproduction interdite sans autorisation.",
        "fr",
        "windows-1252",
        False,
    ),
    "es": Site(
        "ciencia.example.es",
        "Ciencia para todos",
        ("Inicio", "Temas", "Quiénes somos", "Aviso legal", "Contacto"),
        "Utilizamos cookies propias y de terceros. Si continúa navegando, acepta su uso.",
        "Todos los derechos reservados. Prohibida la reproducción sin permiso.",
        "es",
    ),
    "ru": Site(
        "znanie.example.ru",
        "Наука рядом",
        ("Главная", "Темы", "О проекте", "Реклама", "Контакты"),
        "Сайт использует файлы cookie. Оставаясь на сайте, вы соглашаетесь с этим.",
        "Все права защищены. Перепечатка только с разрешения редакции.",
        "ru",
        "windows-1251",
    ),
}
