"""Tables of words that indicate a task or depth: one lookup per token."""

from __future__ import annotations


def _table(*rows: tuple[str, float, str]) -> dict[str, tuple[tuple[str, float], ...]]:
    """Return word -> votes, from rows of task, weight and words."""
    votes: dict[str, tuple[tuple[str, float], ...]] = {}
    for task, weight, words in rows:
        for word in words.split():
            votes[word] = (*votes.get(word, ()), (task, weight))
    return votes


TASK_WORDS = _table(
    (
        "code",
        3.0,
        """
        ``` def elif traceback stacktrace segfault pytest unittest regex refactor debug stdin stdout
        """,
    ),
    (
        "code",
        2.0,
        """
        python javascript typescript golang kotlin swift php ruby perl haskell scala rust bash powershell
        sql html css django flask react node npm pandas numpy docker kubernetes dockerfile git github
        compiler compile api endpoint async await programming codebase linter boolean struct enum malloc
        nullptr const argv println printf middleware
        """,
    ),
    (
        "code",
        1.2,
        """
        code function functions method methods class classes bug bugs script algorithm program array arrays
        string strings exception import return returns loop recursion recursive query queries database
        server java c sort implement implementation library framework package backend frontend variable
        variables int void null parser
        """,
    ),
    (
        "writing",
        3.0,
        """
        essay poem haiku sonnet limerick screenplay slogan tagline rewrite rephrase paraphrase proofread
        lyrics
        """,
    ),
    (
        "writing",
        2.0,
        """
        write compose draft story blog letter email song speech caption headline tweet novel narrative
        fiction dialogue monologue biography brochure copywriting newsletter obituary memoir pitch toast
        eulogy plot
        """,
    ),
    (
        "writing",
        1.0,
        """
        tone style creative paragraph character characters humorous persuasive edit polish post describe
        scene imagine article generate title outline expanded sentence
        """,
    ),
    (
        "analysis",
        2.0,
        """
        analyze analyse analysis compare contrast evaluate assess critique interpret implications tradeoffs
        pros cons swot hypothesis investigate argue arguments discuss
        """,
    ),
    (
        "analysis",
        1.0,
        """
        explain why reason reasons reasoning cause causes effect effects impact strategy review difference
        differences advantages disadvantages recommend risk risks factors evidence consequences significance
        theory policy market deduce logical plausible consistent inference options choices which true false
        statement statements
        """,
    ),
    (
        "translation",
        4.0,
        """
        translate translation translated translating translations traduce traduire traduis traduzca traduci
        """,
    ),
    (
        "translation",
        4.0,
        """
        übersetze übersetzen übersetzung tradurre traduza traduzir переведи
        """,
    ),
    (
        "translation",
        1.0,
        """
        french german spanish italian portuguese dutch russian chinese mandarin japanese korean arabic hindi
        turkish polish swedish greek latin english say
        """,
    ),
    (
        "math",
        3.0,
        """
        equation equations integral integrals derivative derivatives theorem polynomial algebra calculus
        geometry trigonometry logarithm eigenvalue eigenvalues factorial prime primes modulo ∫ ∑ √
        """,
    ),
    (
        "math",
        2.0,
        """
        solve prove proof calculate compute probability matrix triangle fraction fractions divisible
        perimeter radius circumference remainder quadratic sine cosine integer integers hypotenuse
        """,
    ),
    (
        "math",
        1.0,
        """
        sum product percent percentage ratio average total speed interest profit area volume angle digits
        times twice half altogether each per math arithmetic
        """,
    ),
    (
        "extraction",
        3.0,
        """
        extract extraction summarize summarise summary summarization tldr categorize categorise classify
        """,
    ),
    (
        "extraction",
        2.0,
        """
        entities keywords sentiment classification label labels transcript annotate passage invoice receipt
        headings
        """,
    ),
    (
        "extraction",
        1.0,
        """
        identify json csv xml fields field list names dates bullet bullets points key according following
        paragraph mentioned document table below detect positive negative topic topics answer question
        category news
        """,
    ),
    (
        "chat",
        2.0,
        """
        hi hello hey thanks thank goodbye bye howdy
        """,
    ),
    (
        "chat",
        0.8,
        """
        you your yourself favorite favourite joke feel feeling today tell recommend movie chat
        """,
    ),
)

# Scripts that write words without spaces, so that no token can be looked up.
TASK_PHRASES = (("翻译", "translation"), ("翻譯", "translation"), ("翻訳", "translation"), ("번역", "translation"))

_DEPTH = """
prove proof derive rigorous rigorously formal formally design architect architecture optimize
optimise optimal tradeoff tradeoffs complexity concurrency concurrent distributed thorough
thoroughly comprehensive detailed justify critically evaluate edge constraints constraint invariant
refactor debug deadlock scalable why step steps asymptotic counterexample theorem hypothesis
synthesize synthesise implications strategy simulate algorithm recursive integral derivative
eigenvalue probability equation thermodynamic quantum differential
"""

DEPTH_WORDS = frozenset(_DEPTH.split())
