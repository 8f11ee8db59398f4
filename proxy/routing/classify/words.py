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
        python javascript typescript golang kotlin swift php ruby perl haskell scala rust bash powershell sql
        html css django flask react node npm pandas numpy docker kubernetes dockerfile git github compiler
        compile api endpoint async await programming codebase linter boolean struct enum malloc nullptr const
        argv println printf middleware android ios linux ubuntu debian nodejs nextjs vue svelte angular jquery
        webpack nginx apache mysql postgresql postgres sqlite mongodb redis elasticsearch kafka vba matlab
        seaborn matplotlib plotly sklearn pytorch tensorflow keras jupyter opencv selenium gui cli dll sdk ide
        ssh tcp udp http https url yaml plugin plugins widget laravel spring hibernate maven gradle unity godot
        arduino verilog vhdl fpga opcode kernel cuda mutex websocket oauth jwt terraform ansible aws azure gcp
        dataframe dataframes sudo chmod cron crontab systemd vim makefile cmake latex excel spreadsheet codes
        coding programmer developer callback localhost iframe checkbox dropdown unicode ascii
        """,
    ),
    (
        "code",
        1.2,
        """
        code function functions method methods class classes bug bugs script algorithm program array arrays
        string strings exception import return returns loop recursion recursive query queries database server
        java c sort implement implementation library framework package backend frontend variable variables int
        void null parser app apps web website webpage browser chrome windows install installed installing
        software deploy deployment dataset datasets command commands terminal console crash crashes runtime
        error errors warning config configure configuration module modules packages dependency dependencies
        repository commit schema pointer pointers bytes byte binary socket port request requests timestamp file
        files folder directory gpu cpu chatbot bot neural login password token tokens button screen
        """,
    ),
    (
        "writing",
        3.0,
        """
        essay poem haiku sonnet limerick screenplay slogan tagline rewrite rephrase paraphrase proofread lyrics
        """,
    ),
    (
        "writing",
        2.0,
        """
        write compose draft story blog letter email song speech caption headline tweet novel narrative fiction
        dialogue monologue biography brochure copywriting newsletter obituary memoir pitch toast eulogy plot
        poems stories rap skit parody satire satirical sequel prologue epilogue fanfic fanfiction bio resume cv
        memo invitation advertisement advert jingle motto blurb testimonial hashtags captions headlines titles
        rhyme rhymes rhyming alliteration synonyms synonym antonyms antonym reword concise grammar spelling
        punctuation verse verses chapter villain protagonist
        """,
    ),
    (
        "writing",
        1.0,
        """
        tone style creative paragraph character characters humorous persuasive edit polish post describe scene
        imagine article generate title outline expanded sentence
        """,
    ),
    (
        "writing",
        2.0,
        """
        écris écrire rédige poème histoire escribe poema cuento schreibe schreib gedicht geschichte scrivi poesia
        racconto escreva conto напиши рассказ стих стихотворение сценарий
        """,
    ),
    (
        "analysis",
        2.0,
        """
        analyze analyse analysis compare contrast evaluate assess critique interpret implications tradeoffs pros
        cons swot hypothesis investigate argue arguments discuss
        """,
    ),
    (
        "analysis",
        1.0,
        """
        explain why reason reasons reasoning cause causes effect effects impact strategy review difference
        differences advantages disadvantages recommend risk risks factors evidence consequences significance
        theory policy market deduce logical plausible consistent inference options choices which true false
        statement statements describe history historical philosophy philosophical economic political society
        moral ethical ethics concept concepts diagnosis patient legal law religion government
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
        solve prove proof calculate compute probability matrix triangle fraction fractions divisible perimeter
        radius circumference remainder quadratic sine cosine integer integers hypotenuse
        """,
    ),
    (
        "math",
        1.0,
        """
        sum product percent percentage ratio average total speed interest profit area volume angle digits times
        twice half altogether each per math arithmetic sequence greatest least smallest largest coordinates
        vector vectors triangles circle rectangle square squared cubic slope vertices polygon diagonal
        permutation permutations combinatorics dice coins coin variance median mean distribution odds formula
        compound discount
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
        paragraph mentioned document table below detect positive negative topic topics answer question category
        news text tweet tweets review reviews article articles context spam offensive categories contract
        excerpt conversation highlight
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
        you your yourself favorite favourite joke feel feeling today tell recommend movie chat suggest
        suggestion suggestions advice tips ideas hobby hobbies gift birthday trip travel vacation hotel
        restaurant restaurants recipe dinner lunch breakfast snack cook cooking workout movies songs playlist
        podcast podcasts weekend boyfriend girlfriend bored sad lonely anxious pretend roleplay
        """,
    ),
)

# Scripts that write words without spaces, so that no token can be looked up.
TASK_PHRASES = tuple(
    (phrase, task)
    for task, phrases in (
        ("translation", "翻译 翻譯 翻訳 번역"),
        ("writing", "写一 小说 故事 作文 诗 物語 小説 소설 이야기"),
        ("code", "代码 编程 プログラム コード 코드"),
        ("extraction", "总结 摘要 要約 요약"),
        ("math", "计算 求解 证明 計算 방정식"),
    )
    for phrase in phrases.split()
)

_DEPTH = """
prove proof derive rigorous rigorously formal formally design architect architecture optimize
optimise optimal tradeoff tradeoffs complexity concurrency concurrent distributed thorough
thoroughly comprehensive detailed justify critically evaluate edge constraints constraint invariant
refactor debug deadlock scalable why step steps asymptotic counterexample theorem hypothesis
synthesize synthesise implications strategy simulate algorithm recursive integral derivative
eigenvalue probability equation thermodynamic quantum differential
"""

DEPTH_WORDS = frozenset(_DEPTH.split())
