"""Names that wikitext uses: tags, hidden namespaces, language prefixes, templates that show words, disambiguation.

Plain tables for `data.wikitext` and `data.wikipedia`. A dump's siteinfo gives the local names of its namespaces but not
their aliases (`Bild:`, `Grafika:`), nor the names of its templates: those of the 20 languages of L1 §2.1 stand here.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FILES = """
file image media archivo imagen imatge fitxer soubor obrázek fil billede datei bild fichier datoteka slika fájl fajl kép
immagine bestand afbeelding plik grafika ficheiro imagem arquivo fișier fişier imagine файл изображение
картинка зображення датотека слика ファイル 画像 tiedosto kuva dosya resim ملف پرونده קובץ 파일 文件 档案 檔案 图像 圖像
"""
_CATEGORIES = """
category categoria categoría kategorie kategori catégorie kategorija kategória categorie kategoria категория категорія
категорија カテゴリ luokka تصنيف رده קטגוריה 분류 分类 分類
"""
_MEDIA = "media médium medij медия медија медиа médiafájl média mídia mediji"
HIDDEN = _words(f"{_FILES} {_CATEGORIES} {_MEDIA}")  # casefolded

LANGUAGES = _words(  # interlanguage links: shown in the margin of a page, not in its text
    """
    aa ab ace af ak als am an ang ar arc arz as ast av ay az azb ba bar bat-smg bcl be be-tarask be-x-old bg bh bi
    bjn bm bn bo bpy br bs bug bxr ca cbk-zam cdo ce ceb ch cho chr chy ckb co cr crh cs csb cu cv cy da de din
    diq dsb dty dv dz ee el eml en eo es et eu ext fa ff fi fiu-vro fj fo fr frp frr fur fy ga gag gan gd gl glk
    gn gom got gu gv ha hak haw he hi hif ho hr hsb ht hu hy hz ia id ie ig ii ik ilo inh io is it iu ja jam jbo
    jv ka kaa kab kbd kbp kg ki kj kk kl km kn ko koi kr krc ks ksh ku kv kw ky la lad lb lbe lez lg li lij lmo ln
    lo lrc lt ltg lv mai map-bms mdf mg mh mhr mi min mk ml mn mo mr mrj ms mt mus mwl my myv mzn na nah nap nds
    nds-nl ne new ng nl nn no nov nrm nso nv ny oc olo om or os pa pag pam pap pcd pdc pfl pi pih pl pms pnb pnt
    ps pt qu rm rmy rn ro roa-rup roa-tara ru rue rw sa sah sc scn sco sd se sg sh si simple sk sl sm sn so sq sr
    srn ss st stq su sv sw szl ta tcy te tet tg th ti tk tl tn to tpi tr ts tt tum tw ty tyv udm ug uk ur uz ve
    vec vep vi vls vo wa war wo wuu xal xh xmf yi yo za zea zh zh-classical zh-min-nan zh-yue zu
    """
)

DROPPED_TAGS = _words(  # with all that stands inside
    """
    ref references gallery timeline imagemap score graph mapframe maplink templatedata inputbox categorytree
    section hiero includeonly templatestyles style script indicator charinsert pagelist ratings rss listing
    """
)
FORMULAS = frozenset(["math", "chem", "ce"])
CODE = frozenset(["pre", "source", "syntaxhighlight"])
RAW_TAGS = FORMULAS | CODE | {"nowiki"}
TAGS = (
    DROPPED_TAGS
    | RAW_TAGS
    | _words(
        """
    abbr b bdi bdo big blockquote br caption center cite code col colgroup data dd del dfn div dl dt em font h1 h2
    h3 h4 h5 h6 hr i ins kbd li mark noinclude nobr ol onlyinclude p poem q rb rp rt rtc ruby s samp small span
    strike strong sub sup table tbody td tfoot th thead time tr tt u ul var wbr
    """
    )
)

# Templates that only wrap words of the sentence, by which positional arguments a reader sees, in order, at most three;
# `name:` are parser functions.
_WRAPPERS = {
    (0,): """nowrap|nobr|nobreak|no wrap|small|smaller|nobold|abbr|tooltip|formatnum|formatnum:|lc:|uc:|lcfirst:|ucfirst:|lang-|
        quote|blockquote|cquote|zitat|"|citat|citation bloc|tq|em|strong|sc|smallcaps|sup|sub|math|mvar|val|circa|c.|nihongo|
        ill|interlanguage link|code|mono|kbd|var""",
    (1,): "lang|langx|langue|transl|transliteration|color",
    (0, 1): "convert|cvt|unité|unidad",
    (0, 1, 2): "date|date-|date de naissance|date de décès",
}
SHOWN = {name.strip(): wanted for wanted, names in _WRAPPERS.items() for name in names.split("|")}

DISAMBIGUATION_TEMPLATES = frozenset(  # casefolded
    [
        *["disambiguation", "disambig", "disamb", "dab", "disam", "hndis", "geodis", "disambiguation page"],
        *[
            "disambiguation cleanup",
            "dab cleanup",
            "mathdab",
            "schooldis",
            "hospitaldis",
            "roaddis",
            "letter-numbercombdisambig",
            "numberdis",
            "aðgreining",
        ],
        *["пояснение", "пояснителна страница", "desambiguació", "rozcestník", "rozcestník - příjmení", "flertydig", "flertydig1"],
        *["begriffsklärung", "bkl", "desambiguación", "desambig", "desambiguacion", "homonymie", "toponymie", "paronymie"],
        *["patronymie", "internationalisation", "razdvojba", "višeznačna odrednica", "egyért", "egyértelműsítő lap"],
        *["egyértelműsítő", "disambigua", "dp", "doorverwijspagina", "dpintro", "ujednoznacznienie", "desambiguação"],
        *[
            "dezambiguizare",
            "dezambig",
            "многозначность",
            "список однофамильцев",
            "полные тёзки",
            "неоднозначность",
            "disambiguare",
            "однофамильцы",
            "razločitev",
            "вишезначна одредница",
        ],
        *["višeznačna odrednica", "förgrening", "grensida", "gren", "неоднозначність"],
        *["багатозначність", "曖昧さ回避", "aimai", "täsmennyssivu", "消歧义", "消歧義"],
    ]
)
DISAMBIGUATION_TITLES = frozenset(  # the part in brackets at a title's end, casefolded
    [
        *["disambiguation", "пояснение", "desambiguació", "rozcestník", "flertydig", "begriffsklärung", "desambiguación"],
        *["homonymie", "razdvojba", "egyértelműsítő lap", "disambigua", "doorverwijspagina", "ujednoznacznienie"],
        *["desambiguação", "dezambiguizare", "значения", "неоднозначность", "razločitev", "вишезначна одредница"],
        *["višeznačna odrednica", "olika betydelser", "förgrening", "значення", "曖昧さ回避"],
        *["täsmennyssivu", "消歧义", "消歧義"],
    ]
)
REDIRECT_WORDS = _words(  # after "#", casefolded
    """
    redirect виж пренасочване перенасочване redirecció přesměruj presmeruj omdirigering omdiriger weiterleitung
    redirección redireccion redirection preusmjeri preusmeri átirányítás rinvia rinvio doorverwijzing patrz
    przekieruj tam redirecionamento redirecteaza перенаправление перенапр преусмери preusmeritev перенаправлення
    переадресація ohjaus uudelleenohjaus 転送 リダイレクト
    """
)
