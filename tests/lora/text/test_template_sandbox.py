"""What a chat template may not do: leave the sandbox, or take more time and memory than a conversation needs."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from lora.text.chat_template import ChatTemplate
from tinytorch.cli.errors import UserError

TALK = [{"role": "user", "content": "hello\n"}, {"role": "assistant", "content": "hi"}]

# Each takes gigabytes or hours where nothing bounds it.
HOSTILE = [
    "{{ 'x' * 10**10 }}",
    "{{ 10**10 * 'x' }}",
    "{{ [0] * 10**10 }}",
    "{{ (1, 2) * 10**9 }}",
    "{{ 10 ** (10 ** 10) }}",
    "{{ 2 ** 100000000 }}",
    "{% set ns = namespace(n=10) %}{% for i in range(100) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s|replace('', ns.s) %}{% endfor %}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s.join([ns.s] * 9) %}{% endfor %}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = '%s%s' % (ns.s, ns.s) %}{% endfor %}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = '{0}{0}'.format(ns.s) %}{% endfor %}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = '%s%s'|format(ns.s, ns.s) %}{% endfor %}",
    "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
    "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
    "{% set ns = namespace(l=(1,)) %}{% for i in range(60) %}{% set ns.l = (ns.l, ns.l) %}{% endfor %}{{ ns.l == 1 }}",
    "{% set ns = namespace(l={}) %}{% for i in range(60) %}{% set ns.l = {1: ns.l, 2: ns.l} %}{% endfor %}",
    "{% set ns = namespace(l={}) %}{% for i in range(60) %}{% set ns.l = dict(a=ns.l, b=ns.l) %}{% endfor %}",
    "{% set s = 'ab' %}" + "{% set s %}{{ s }}{{ s }}{% endset %}" * 60,
    "{% macro f(s) %}{{ s }}{{ s }}{% endmacro %}{% set ns = namespace(s='a') %}"
    "{% for i in range(60) %}{% set ns.s = f(ns.s) %}{% endfor %}",
    "{% for i in range(99999) %}{{ 'x' * 100000 }}{% endfor %}",
    "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = ns.l + ['x' * 900000 ~ i] %}{% endfor %}",
    "{% for i in range(10**9) %}{% endfor %}",
    "{{ range(99999)|list * 99999 }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "".join(f"{{% for a{i} in messages %}}" for i in range(15)) + "{% endfor %}" * 15,
    "".join(f"{{% for a{i} in 'abcdefghij' %}}" for i in range(15)) + "{% endfor %}" * 15,
    "{% for a in range(99999) %}{{ range(50000)|map('string')|join }}{% endfor %}",
    "{% for a in range(99999) %}{{ range(99999)|sum }}{% endfor %}",
    "{{ range(60000)" + "|select" * 200 + "|list }}",
    "{% for a in range(999) %}{{ range(60000)|select|list }}{% endfor %}",
    "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for m in [messages] recursive %}{{ loop([messages]) }}{% endfor %}",
    "{{ 'x'.ljust(10**10) }}",
    "{{ 'x'.zfill(10**9) }}",
    "{{ 'x'.center(10**9) }}{{ 'x'|center(10**9) }}",
    "{{ ('\t' * 100000).expandtabs(100000) }}",
    "{{ ('a' * 100000).translate({97: 'x' * 100000}) }}",
    "{{ (1).to_bytes(10**10, 'big') }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ '%*d' % (999999999, 1) }}",
    "{{ '{:9999999999}'.format(1) }}",
    "{{ '{:{}}'.format(1, 999999999) }}",
    "{{ '{:{w}}'.format_map({'w': 999999999}) }}",
    "{{ '%9999999999d'|format(1) }}",
    "{{ ('x\n' * 100000)|indent(99999) }}",
    "{{ ('x\n' * 100000)|indent('y' * 100000) }}",
    "{{ [1]|batch(10**9, 0)|list }}",
    "{{ [1]|slice(10**9)|list }}",
    "{{ [[1] * 1000] | tojson(indent=99999) }}",
    "{{ ([1] * 9999) | tojson(separators=('x' * 99999, ':')) }}",
    "{{ (['x' * 90000] * 90000) | join }}",
    "{{ lipsum(n=10**7) }}",
    "{{ ('9' * 1000000) | int }}",
    "{{ ([1] * 9000)|replace('1', 'x' * 90000) }}",
    "{{ ('1' * 9000)|replace(1, 'x' * 90000) }}",
    "{{ ('a' * 9000)|replace(new='x' * 90000, old='a') }}",
    "{{ ('ab' * 9000)|map('replace', 'a', 'x' * 90000)|list }}",
    "{{ ('ab' * 400000).strip('b' * 400000 ~ 'a') }}",
    "{{ ('ab' * 400000)|trim('b' * 400000 ~ 'a') }}",
    "{{ ('é' * 400000).encode('punycode') }}",
    "{{ ('<!---->' * 100000)|escape }}{{ (('<!---->' * 100000)|safe).striptags() }}",
    "{{ ('{' ~ ':' * 900000).format(1) }}{% for i in range(99999) %}{% endfor %}{{ 'x' * 9999999 }}",
    "{{ ('%' ~ '1 ' * 400000) % 1 }}",
    "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
    "{% set ns = namespace() %}{% set ns.a = ns %}{{ 'x' ~ ns }}{{ ns|string }}{{ '%s' % ns }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ 1 " + "+ 1" * 10000 + " }}",
    "x" * 300_000,
]  # fmt: skip

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__ }}",
    "{{ (messages|attr('__class__')) }}",
    "{{ ''['__class__'] }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__.os }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['__builtins__'] }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '{0.__class__.__mro__}'|format(1) }}{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ [messages]|map('attr', '__class__')|list }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(role='x') }}",
    "{{ messages.clear() }}",
    "{{ dict.update(messages[0], role='x') }}",
    "{{ dict.pop(messages[0], 'role') }}{{ dict.clear(messages[0]) }}",
    "{{ [dict.clear]|first|attr('__call__')(messages[0]) }}",
    "{{ messages|map('attr', 'clear')|list }}{{ (messages|map(attribute='pop')|list)[0]('role') }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'base' %}",
    "{{ environment }}{{ tick }}{{ made }}{{ open }}{{ __import__ }}",
    "{% for x in messages %}{{ loop.__class__ }}{{ loop._iterator }}{% endfor %}",
    "{% macro f() %}{% endmacro %}{{ f._func }}{{ f.__class__ }}{{ f.caller.__globals__ }}",
    "{{ (messages|map('upper')).gi_frame.f_globals }}{{ (messages|select).gi_code }}",
]  # fmt: skip


def rendered(template: str) -> str:
    return ChatTemplate(template, {"eos_token": "</s>"}).render(TALK)


@pytest.mark.parametrize("template", HOSTILE, ids=range(len(HOSTILE)))
def test_limits(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, smaller in (("SECONDS", 0.2), ("LENGTH", 1 << 18), ("TOTAL", 1 << 23)):  # to be quick
        monkeypatch.setattr(f"lora.text.template_sandbox.{name}", smaller)
    start = time.thread_time()
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as raised:
            rendered(template)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(raised.value)
    assert "\n" not in message and len(message) < 1700
    assert peak < 64 << 20
    assert time.thread_time() - start < 8


@pytest.mark.parametrize("template", ESCAPES)
def test_there_is_no_way_out(template: str) -> None:
    before = [dict(message) for message in TALK]
    try:
        text = rendered(template)
    except UserError:
        text = ""
    assert not any(word in text for word in ("<class", "<function", "<module", "<frame", "<code", "root:", "jinja2"))
    assert before == TALK


FAIR: list[tuple[str, Any]] = [
    ("{{ 'ab' * 3 }}{{ 2 ** 10 }}{{ [1] * 2 + [3] }}{{ 'a' ~ 1 ~ none }}", "ababab1024[1, 1, 3]a1None"),
    ("{{ '%s: %5.2f' % ('x', 1.5) }}{{ '{:>4}|{}'.format(7, 'y') }}{{ '%s'|format(1) }}", "x:  1.50   7|y1"),
    ("{% for a, b in [(1, 2), (3, 4)] %}{{ loop.index }}{{ a + b }}{% else %}none{% endfor %}", "1327"),
    ("{% set ns = namespace(l=[]) %}{% for m in messages %}{% set ns.l = ns.l + [m] %}{% endfor %}{{ ns.l|length }}",
     "2"),
    ("{% for k, v in {'a': 1, 'b': [2]}|dictsort %}{{ k }}{{ v }}{% endfor %}{{ {'a': 1} | items | list }}",
     "a1b[2][('a', 1)]"),
    ("{{ messages|map(attribute='role')|join(', ') }}{{ messages|selectattr('role', 'equalto', 'user')|list|length }}",
     "user, assistant1"),
    ("{{ 'a-b'.split('-')[-1] }}{{ 'x'.replace('x', 'yy') }}{{ ','.join(['a', 'b']) }}{{ ' a '.strip() }}", "byya,ba"),
    ("{{ 'a\nb'|indent(2) }}{{ 'a'|center(3) }}{{ [1, 2, 3]|batch(2, 0)|list }}", "a\n  b a [[1, 2], [3, 0]]"),
    ("{{ {'a': [1]}|tojson(indent=2) }}{{ '7'|int + 1 }}{{ range(3)|sum }}", '{\n  "a": [\n    1\n  ]\n}83'),
    ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f('a') }}{% set b %}[{{ f(1) }}]{% endset %}{{ b }}", "<a>[<1>]"),
    ("{{ no_name|default(10**9) }}{{ [{'t': 10**9}]|selectattr('t', 'equalto', 10**9)|list|length }}", "10000000001"),
    ("{% filter upper %}abc{% endfilter %}{{ messages[::-1][0].role }}{{ 'l' in 'hello' }}", "ABCassistantTrue"),
    ("{{ 'x' if messages[0].content is string else 'y' }}{{ no_name }}{{ messages[0]['role'] in ['user'] }}", "xTrue"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "expected"), FAIR)
def test_what_conversations_need_is_there(template: str, expected: str) -> None:
    assert rendered(template) == expected


def test_a_long_conversation() -> None:
    """A million characters in 2,000 messages; each looks at all of them, as some templates do."""
    talk = [{"role": "user", "content": "word " * 100} for _ in range(2000)]
    template = (
        "{% for m in messages %}{{ '<|' ~ m.role ~ '|>' + m['content'] | trim }}"
        "{{ (messages | selectattr('role', 'equalto', 'system') | list | length) or '' }}{{ eos_token }}{% endfor %}"
    )
    text = ChatTemplate(template.replace("selectattr('role', 'equalto', 'system') | list | ", ""), {}).render(talk)
    assert len(text) > 1_000_000
    assert len(ChatTemplate(template, {}).render(talk[:100])) > 50_000
