#include "actors/event_filter.hpp"

#include "actors/lifecycle_event.hpp"

#include <algorithm>
#include <array>

namespace troupe {
namespace {

constexpr size_t parts_max = 4;
constexpr size_t subjects_max = 64;
constexpr size_t subject_bytes_max = 512;
constexpr schema::Event::Type all_types[] = {schema::Event::Type::LIFECYCLE, schema::Event::Type::OPERATION,
                                             schema::Event::Type::LOGGING, schema::Event::Type::SECURITY};
constexpr std::string_view level_names[] = {"debug", "info", "warning", "error"};

bool is_plain(char c) { return c > ' ' && c < 0x7f && std::string_view{".*>%"}.find(c) == std::string_view::npos; }

// One part of a subject, whatever the name is.
std::string as_part(std::string_view word) {
  static constexpr char digits[] = "0123456789ABCDEF";
  if (!word.empty() && std::all_of(word.begin(), word.end(), is_plain)) return std::string{word};
  std::string out;
  for (char c : word) {
    if (is_plain(c)) {
      out += c;
      continue;
    }
    auto byte = static_cast<unsigned char>(c);
    (out += '%') += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out.empty() ? "_" : out;
}

std::string lower(std::string_view word) {
  std::string out{word};
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string_view verb_of(std::string_view action, std::string_view kind) {
  bool prefixed = action.size() > kind.size() + 1 && action.starts_with(kind) && action[kind.size()] == '-';
  return prefixed ? action.substr(kind.size() + 1) : action;
}

std::array<std::string_view, parts_max> parts_of(const event_facts& facts) {
  return {facts.project, facts.kind, facts.name, facts.verb};
}

bool is_part(std::string_view part) {
  return part == "*" ||
         (!part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c == '%' || is_plain(c); }));
}

} // namespace

event_facts facts_of(schema::Event::Reader event) {
  event_facts facts;
  facts.type = event.getType();
  facts.level = event.getLevel();
  facts.project = as_part(view(event.getProject()));
  if (facts.type == schema::Event::Type::LOGGING) {
    facts.kind = "log";
    facts.name = level_names[std::min<size_t>(static_cast<size_t>(facts.level), std::size(level_names) - 1)];
    facts.verb = "written";
    return facts;
  }
  facts.kind = as_part(view(event.getKind()));
  facts.name = as_part(view(event.getEntity()));
  facts.verb = as_part(lower(verb_of(view(event.getAction()), view(event.getKind()))));
  facts.operation = view(facts.type == schema::Event::Type::OPERATION ? event.getEntity() : event.getOperation());
  facts.principal = view(event.getRequestor().getUsername());
  return facts;
}

std::string subject_of(const event_facts& facts) {
  return facts.project + '.' + facts.kind + '.' + facts.name + '.' + facts.verb;
}

outcome<event_matcher::pattern> event_matcher::parse_subject(std::string_view subject) {
  auto bad = [&](std::string_view why) {
    return fail(fault::invalid, "\"" + std::string{subject.substr(0, 100)} + "\" is no subject: " + std::string{why});
  };
  if (subject.size() > subject_bytes_max) return bad("it is too long");
  pattern out;
  for (size_t at = 0; at <= subject.size();) {
    auto dot = std::min(subject.find('.', at), subject.size());
    auto part = subject.substr(at, dot - at);
    at = dot + 1;
    if (out.rest) return bad("\">\" is the last part");
    if (out.parts.size() == parts_max) return bad("it has more than the four parts project.kind.name.verb");
    if (part == ">")
      out.rest = true;
    else if (is_part(part))
      out.parts.emplace_back(part);
    else
      return bad(part.empty() ? "a part is empty" : "a part is a word, \"*\" or \">\"");
  }
  if (!out.rest && out.parts.size() < parts_max)
    return bad("it has fewer than the four parts project.kind.name.verb and does not end in \">\"");
  return out;
}

outcome<event_matcher> event_matcher::parse(const event_filter& filter) {
  if (filter.subjects.size() > subjects_max) return fail(fault::invalid, "A filter has at most 64 subjects");
  event_matcher out;
  for (auto& subject : filter.subjects) {
    auto parsed = parse_subject(subject);
    if (!parsed) return tl::unexpected{parsed.error()};
    out.subjects_.push_back(std::move(*parsed));
  }
  auto whole = [](const pattern& one) { return one.parts.empty(); };
  if (std::any_of(out.subjects_.begin(), out.subjects_.end(), whole)) out.subjects_.clear(); // ">" is no restriction
  for (auto& type : filter.types) {
    auto at =
        std::find_if(std::begin(all_types), std::end(all_types), [&](auto one) { return type_name(one) == type; });
    if (at == std::end(all_types))
      return fail(fault::invalid, "\"" + type.substr(0, 100) + "\" isn't a supported event type");
    out.types_ |= static_cast<uint8_t>(1 << static_cast<unsigned>(*at));
  }
  if (filter.types.empty()) out.types_ = 0xff;
  if (static_cast<size_t>(filter.least_level) >= std::size(level_names))
    return fail(fault::invalid, "The least level of a filter is debug, info, warning or error");
  out.least_level_ = filter.least_level;
  out.operation_ = filter.operation;
  out.principal_ = filter.principal;
  return out;
}

bool event_matcher::everything() const {
  return subjects_.empty() && types_ == 0xff && least_level_ == schema::Event::Level::DEBUG && operation_.empty() &&
         principal_.empty();
}

bool event_matcher::fits(const event_facts& facts, size_t parts) const {
  if (subjects_.empty()) return true;
  auto words = parts_of(facts);
  return std::any_of(subjects_.begin(), subjects_.end(), [&](const pattern& wanted) {
    for (size_t i = 0; i < std::min(parts, wanted.parts.size()); ++i)
      if (wanted.parts[i] != "*" && wanted.parts[i] != words[i]) return false;
    return true;
  });
}

bool event_matcher::matches(const event_facts& facts) const {
  return wants(facts.type) && facts.level >= least_level_ && (operation_.empty() || operation_ == facts.operation) &&
         (principal_.empty() || principal_ == facts.principal) && fits(facts, parts_max);
}

bool event_matcher::covers(const event_facts& thing) const {
  return wants(thing.type) && (operation_.empty() || operation_ == thing.operation) && fits(thing, parts_max - 1);
}

} // namespace troupe
