"""Tables of the codes and words with which APIs describe failures, for all dialects, and two look-ups in them.

Sources: the error references of OpenAI, Azure, Anthropic, Google, Mistral, Groq, DeepSeek, xAI, OpenRouter, Together,
Fireworks, Cohere, Cerebras, Hugging Face, Databricks, Cloudflare, Bedrock, Alibaba, Moonshot and Zhipu, and what vLLM,
Ollama, LM Studio and llama.cpp send. `tests/unit/dialects/vendors.py` has a body of each.

Patterns match text after `normal`: at most `LONGEST` characters, in lower case, with one space between words and `*`
for quoted text, so that an error that quotes the client's request is not classified by these words. Repetitions in
patterns are bounded, so the time of a search is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property

from proxy.core.failures import FailureKind

LONGEST = 4000  # characters of a text that are examined

_K = FailureKind


class Words:
    """A pattern, compiled on first use: compiling all of them at start takes 20 ms.

    `text` has one alternative per line; an indented line continues the previous one.
    """

    def __init__(self, text: str) -> None:
        text = re.sub(r"\n +", "", text.strip())
        self.pattern = "|".join(line for line in text.split("\n") if line)

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def search(self, text: str) -> re.Match[str] | None:
        """Return the first match in `text`."""
        return self._compiled.search(text)


# Values of the members `code`, `type`, `status` and `reason`; in lower case, without spaces.
_CODES: dict[FailureKind, str] = {
    _K.CONTENT_FILTERED: """content_filter content_filtered content_policy_violation responsibleaipolicyviolation
        moderation_blocked data_inspection_failed datainspectionfailed sensitivecontentdetected""",
    _K.CONTEXT_TOO_LONG: """context_length_exceeded context_window_exceeded exceed_context_size_error
        contextwindowexceedederror""",
    _K.KEY_REJECTED: """invalid_api_key invalidapikey incorrect_api_key incorrect_api_key_error wrong_api_key
        expired_api_key missing_api_key api_key_invalid api_key_expired api_key_service_blocked invalid_authentication
        invalid_authentication_error authentication_error authenticationerror unauthenticated permission_error
        unrecognizedclientexception expiredtokenexception invalidsignatureexception invalidclienttokenid
        ip_not_authorized unsupported_country_region_territory access_terminated_error
        insufficient_quota exceeded_current_quota_error billing_error billing_hard_limit_reached billing_not_active
        billing_disabled payment_required insufficient_balance insufficientbalance insufficient_credits
        insufficient_funds credits_exhausted arrearage account_deactivated account_suspended account_disabled
        organization_restricted organization_deactivated organization_disabled service_disabled consumer_suspended
        consumer_invalid allocationquota.freetieronly blocked_api_access spend_limit_reached budget_exceeded
        auth_error not_enough_balance accountoverdueerror resourcedisabled""",
    _K.MODEL_MISSING: """model_not_found modelnotfound model_decommissioned model_deprecated model_not_available
        model_not_active model_not_supported model_not_exist model_unavailable invalid_model unknown_model
        model_terms_required model_permission_blocked_org model_permission_blocked_project model_access_denied
        modelnotopen unavailable_model invalidendpointormodel.notfound deploymentnotfound deployment_not_found
        resource_does_not_exist resource_not_found_error operationnotsupported accessdenied.unpurchased
        endpoint_not_found""",
    _K.WRONG_ADDRESS: "unknown_url unknown_request_url route_not_found",
}
_KIND_OF_CODE: Mapping[str, FailureKind] = {code: kind for kind, codes in _CODES.items() for code in codes.split()}

# A 429 with one of these is not resolved by waiting: the account has no credit.
_ACCOUNT_CODES = """
    insufficient_quota exceeded_current_quota_error billing_hard_limit_reached billing_not_active billing_error
    insufficient_balance insufficient_credits credits_exhausted arrearage payment_required spend_limit_reached
    budget_exceeded not_enough_balance
"""
ACCOUNT_CODES = frozenset(_ACCOUNT_CODES.split())

# Codes that blame the request, regardless of the message.
_CLIENT_CODES = """
    invalid_value invalid_type unsupported_parameter missing_required_parameter unknown_parameter empty_array
    array_above_max_length array_below_min_length string_above_max_length string_below_min_length empty_string
    integer_above_max_value integer_below_min_value decimal_above_max_value decimal_below_min_value
    invalid_function_parameters invalid_image_url invalid_image_format invalid_base64 image_parse_error
    tool_use_failed json_validate_failed invalid_json_schema unsupported_file invalid_prompt
"""
CLIENT_CODES = frozenset(_CLIENT_CODES.split())
# A message that begins with one of these is about a member of the request.
_MEMBERS = """messages tools tool_choice system max_tokens max_completion_tokens temperature top_p top_k stop metadata
    thinking response_format functions function_call contents generation_config generationconfig body input prompt
    stream_options stop_sequences n seed user logprobs parallel_tool_calls"""
_MEMBER = re.compile(
    rf"(?:{'|'.join(_MEMBERS.split())})(?:[.:\[]|\b.{{0,3}}: )"
    r"|(?:the )?(?:function|tool|parameter|argument|property) \*"
)
# Errors about a link, a file or a server from the request, which may quote its response.
_FETCHED = Words(
    r"\b(?:(?:download|fetch|load|read|open|access|process|connect)(?:ed|ing)?|(?:retrieve|communicate)d?|retrieving)"
    r" (?:\S{1,80} ){0,3}?(?:images?|files?|urls?|media|audio|video|documents?|pdf|content|links?|mcp)\b"
    r"|\bmcp server|\b(?:(?:download|fetch)(?:ed|ing)?|retrieved?|retrieving) (?:from )?(?:\*|https?:)"
)

_START = r"(?:^|[.:;!,\]] ?)(?:error: )?(?:the |your |an? |provided )?"
_SUBJECT = "".join(f"(?<!{word} )(?<!{word} this )(?<!{word} the )" for word in ("for", "with", "by", "of", "in"))
_NAME = r"(?:\S{1,120} ){0,2}?"

_KEY = rf"""
api[ -]?(?:key|token) {_NAME}(?:is |was |has been |provided is )?(?:not valid|invalid|expired|not found|incorrect
    |revoked
    |disabled|missing|deleted|suspended|reported as leaked|wrong|inactive|not authorized|unauthorized|required
    |(?:currently )?blocked)
{_START}(?:invalid|incorrect|wrong|expired|missing|unknown|bad|revoked|unauthorized|no|missing or invalid
    |invalid or missing) (?:x-)?(?:api[ -]?(?:key|token)
    |access token|auth token|authentication token|bearer token|subscription key|credentials?|auth credentials
    |authorization header|authentication header|authorization token|authentication)\b
x-api-key header is required
(?:access|oauth|bearer|auth|authentication|security) token {_NAME}(?:is |has |in the request is )?(?:invalid|expired
    |revoked)
(?:the|your) token (?:seems|is) invalid
^(?:the |your )?token (?:is |has )?(?:expired|invalid|incorrect)|^login fail
multiple authentication credentials|format for authorization header
no required ssl certificate was sent|^licen[sc]e (?:key )?(?:has |is )?(?:expired|invalid)
^authentication (?:fails|failed|failure|error)
{_START}could not (?:validate credentials|resolve authentication)
credential is only authorized for
^unauthori[sz]ed[.! *]{{0,3}}$
(?:location|from your (?:region|country)) is not supported
^(?:you )?(?:have |do not have )?(?:insufficient|sufficient) permissions?\b
country, region,? or territory not supported
(?:not available|unavailable) in your (?:country|region|location)
ip (?:address )?\S{{0,60}} ?(?:is )?not (?:authorized|allowed|whitelisted)
(?:has not been used in project|service|api is) .{{0,80}}\bdisabled\b
api key .{{0,40}}reported as leaked
"""
_ACCOUNT = r"""
(?:credit|account) balance (?:is )?too low|payment (?:method )?(?:was )?declined|^subscription required
insufficient[ _](?:account )?(?:balance|credits?|funds|quota)
(?:run|ran|running|you are|are) out of (?:\w{1,20} )?credits?
(?:does(?:n.t| not)|don.t|do not) have (?:any |enough |sufficient )(?:\w{1,20} )?(?:credits?|funds|balance)
(?:used|exhausted|exceeded) (?:all |your |any |the ){0,2}(?:available |monthly |included |free ){0,2}credits?
credits? (?:balance )?(?:have |has |is |are )?(?:been )?(?:expired|exhausted|depleted|used up|limit exceeded)
exceeded your (?:current |monthly )(?:included )?quota
(?:enable|set up|add) (?:a )?(?:billing|payment method)
billing (?:account )?(?:has been |is |was )?(?:disabled|inactive|not (?:active|enabled|set up|configured))
billing hard limit
(?:spend(?:ing)?|usage|budget) (?:limits?|caps?) (?:has been |have been |was )?(?:reached|exceeded)
(?:reached|exceeded|hit) (?:your|its|the) (?:specified |monthly |api |workspace |organi[sz]ation |project
    |team |account ){0,3}(?:usage|spending|spend|budget) limits?
account (?:\S{1,80} )?(?:is|has been|was) (?:currently )?(?:not active|inactive|suspended|deactivated|disabled|banned
    |blocked|in arrears|overdue|locked|closed|terminated)
account is in good standing
(?:organi[sz]ation|project|team|workspace|tenant) (?:\S{1,80} )?(?:is|has been|was) (?:suspended|deactivated|disabled
    |restricted|banned|blocked|archived|locked|overdue)
organi[sz]ation must be verified
please (?:recharge|top[ -]?up)
^payment required
(?:invoice|payment|account) .{0,20}past due|overdue payment|unpaid invoice
quota exceeded for your plan|(?:plan|monthly|total) quota (?:has been |is )?(?:exceeded|exhausted|used up)
(?:subscription|trial)(?: period)? (?:has |is )?expired|account balance is negative|negative balance
not enough (?:balance|credits?|funds|quota)\b|^operation not allowed[.!]?$
\bno remaining (?:credits?|quota|balance)\b|^budget has been exceeded
(?:azure )?subscription (?:\S{1,80} )?(?:is|has been|was) (?:disabled|suspended|canceled|cancelled|expired|deleted)
not (?:yet )?(?:available|enabled) (?:for|on) (?:this|your) (?:current )?(?:subscription|account
    |organi[sz]ation|plan|tier)
free (?:tier|quota|trial) (?:\w{1,20} ){0,3}?(?:has been |is |has )?(?:exhausted|expired|used up)
余额不足|欠费|充值
"""
_MODEL = rf"""
{_SUBJECT}\bmodels?\b:?(?: id| name| identifier)? (?:you requested |\S{{1,160}} )?
    (?:(?:is|was|are|has been|have been) )?(?:currently )?(?:not found|not exist|do(?:es)?(?: not|n.t) exist
    |not available|no longer (?:available|supported)
    |disabled|decommissioned|deprecated|retired|sunset|discontinued|removed|shut ?down|unavailable|not active
    |not (?:currently )?deployed|not loaded|not supported by (?:any )?provider|could not be found|not recogni[sz]ed)
requested model (?:\S{{1,160}} )?is not (?:supported|available|found)
\b(?:invalid|unknown|unsupported|unrecogni[sz]ed) model(?: id| name| identifier)?(?:[:.,] ?|$| \*| passed| specified
    | provided| requested| \S{{0,100}}[-/\d]\S{{0,100}})
model (?:id|name|identifier) (?:\S{{1,160}} )?is (?:invalid|not valid|unknown)
not a valid model
\bno such model
(?:could not|cannot|can.t|unable to|failed to) (?:find|load|access|locate) (?:the |non-serverless )?models?\b
(?:does(?: not|n.t)|do(?: not|n.t)|without|no|not) (?:have )?(?:been granted )?access to (?:the |this )?models?\b
not (?:authorized|allowed|permitted|entitled) to (?:access|use|invoke|sample from) (?:the |this )?models?\b
(?:access to|access denied (?:to|for)) (?:the |this )?model (?:\S{{1,160}} )?(?:is )?(?:denied)?$
access to model denied
model access (?:is|was) denied
no endpoints? found|no (?:allowed|available) providers?
\bengine \S{{1,160}} does not exist|\bmodel (?:\S{{1,160}} )?(?:is offline|(?:has )?reached (?:its )?end of life)
access to (?:the |this )?model (?:\S{{1,160}} )?is not (?:permitted|allowed)
deployment (?:\S{{1,160}} |for this resource )?(?:does(?: not|n.t) exist|not found|was not found)
with on-demand throughput isn.t supported
requires? terms acceptance|accept the (?:model.s )?terms
no models? loaded
\breached (?:its )?end of life|^model_?not_?found(?:error)?$|^model is not supported:
\bno model named
(?:does(?: not|n.t)|do(?: not|n.t)) include access to (?:the |this )?models?\b
not authori[sz]ed for (?:the |this )?model\b
not allowed to use publisher model
\bunknown model (?!param|field|setting|option)\S{{1,100}}$
\bno (?:available |suitable )?(?:routes?|channels?|endpoints?|deployments?) (?:is |are )?(?:found |available )?
    for model\b
\bmodel (?:\S{{1,160}} )?is (?:not servable|marked by (?:the )?provider as legacy)|\b(?:was|is|has been) retired on\b
operation does not work with the specified model
not the model .{{0,160}}permission denied|not found the model
模型不存在
"""
_CONTEXT = r"""
context[ _]?length|context window|context limit|available context size|context size has been exceeded
prompt (?:is )?too long|input (?:is )?too long|too many (?:input |total )?tokens
maximum (?:context|model|prompt|input)[ _]?(?:length|tokens)
reduce the length of
exceeds? (?:the )?(?:maximum|available) (?:number of |allowed )?
    (?:(?:context|input|prompt) (?:length|size|tokens)|tokens)
exceed(?:s|ed|ing)? (?:the )?model.{0,40}? token limit|max tokens of \d{1,10} exceeded|prompt 超长
tokens \+ \S{1,40} must be <=|must have less than \d{1,10} tokens
token count.{0,40}exceeds
range of input length should be
(?:input|prompt) tokens? .{0,40}exceeds?
"""
_FILTERED = r"""
content management policy|responsible ai|usage guidelines
(?:blocked|flagged|refused|rejected|filtered) (?:by|due to) (?:our |the |your )?(?:content|safety|moderation)
(?:prompt|content|input) (?:was |is |has been )?(?:blocked|flagged)
rejected as a result of our safety system
(?:inappropriate|sensitive|unsafe) (?:content|information)|^content exists risk
敏感内容
"""
# A path or a server that does not belong to the API.
_ROUTE = r"""
^not ?found[.!]?$|^404(?: page)? not found|^file not found[.!]?$|^page not found|^resource not found[.!]?$
^method not allowed
invalid url\b|unknown request url|unknown (?:url|endpoint|path|route)\b|no (?:such )?route\b
no matching (?:route|handler)
cannot (?:post|get) /|unexpected endpoint or method|path .{0,200}not found
route .{0,200}(?:not found|could not be found)
^(?:this |the )?(?:api )?endpoint .{0,80}(?:not found|does not exist|not supported)
"""
# The model's server is not running, regardless of the status.
_DOWN = r"""
\bmodel (?:\S{1,160} )?(?:has )?(?:crashed|(?:been )?unloaded)\b
(?:endpoint|deployment) (?:\S{1,160} )?is (?:paused|stopped|scaled to zero|not running)
\bmodel (?:\S{1,160} )?is (?:not ready|currently offline)
degraded function cannot be invoked|^(?:the )?service is (?:under|down for|in) maintenance
"""
# The API version and a gateway's settings, which the operator has configured.
_SETTINGS = r"""
api[- ]version (?:\S{1,40} )?(?:is )?(?:not supported|invalid|unsupported)|(?:invalid|unsupported) api[- ]version
only for api versions|^anthropic-version: |^please configure ai gateway
"""
_LIMIT = r"""
^(?:error: )?rate limit|^too many requests|rate limit (?:is |has been |was )?(?:reached|exceeded)
"""
_NETWORK = r"""
public access is disabled|private endpoint|virtual network|firewall rules|network (?:rules|policy|acl)
ip address rules
"""
_RESOURCE = r"""
\bfiles?\b|cached? ?content|previous[ _]response|\bthreads?\b|vector[ _]store|\bresponse with id|\bimage\b
\b(?:conversation|item|container|skill|voice|tool|assistant|batch|prompt|message|document|session|upload|connector)s?
    (?: with id)?:? (?:\S{1,160} )?(?:(?:was|is|could) )?not (?:be )?found
"""


KEY = Words(_KEY)
ACCOUNT = Words(_ACCOUNT)
MODEL = Words(_MODEL)
CONTEXT = Words(_CONTEXT)
FILTERED = Words(_FILTERED)
ROUTE = Words(_ROUTE)
NETWORK = Words(_NETWORK)
DOWN = Words(_DOWN)
SETTINGS = Words(_SETTINGS)
LIMIT = Words(_LIMIT)
RESOURCE = Words(_RESOURCE)
TOO_LARGE = Words(
    r"request too large for\b.{1,400}?\blimit:? [\d,]{1,20}, requested:? \d"
    r"|too large for \S{1,160} model. max size:? \d"
)

_QUOTED = re.compile(r"`[^`]*`|\"[^\"]*\"|“[^“”]*”|(?<!\w)'[^']*'(?!\w)")
_BARE = frozenset({"", "forbidden", "accessdenied", "httpforbidden", "errorforbidden"})


def normal(text: str) -> str:
    """Return `text` in the form that the patterns match."""
    return " ".join(_QUOTED.sub("*", text[:LONGEST].lower()).split())


def kind_of_codes(codes: Iterable[str]) -> FailureKind | None:
    """Return the first kind in the table that has one of the codes."""
    named = {_KIND_OF_CODE[code] for code in codes if code in _KIND_OF_CODE}
    return next((kind for kind in _CODES if kind in named), None)


def names_member(words: str) -> bool:
    """Whether an error's normal text begins with a member of the request, or is about a link from the request."""
    return _MEMBER.match(words) is not None or _FETCHED.search(words) is not None


def is_bare(text: str) -> bool:
    """Whether a text only reports that access is forbidden, as firewalls before an API do."""
    text = text.strip()
    return len(text) <= 100 and "".join(filter(str.isalpha, text.lower())) in _BARE
