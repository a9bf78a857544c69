#include "gateway/rest/filter.hpp"

#include <nlohmann/json.hpp>
#include <re2/re2.h>

namespace troupe {
namespace {

constexpr size_t filter_bytes_max = 4096, pattern_bytes_max = 256;

// Words, with quoted values kept together.
outcome<std::vector<std::string>> words_of(std::string_view text) {
  std::vector<std::string> out;
  std::string word;
  char quote = 0;
  bool open = false;
  for (char c : text) {
    if (quote) {
      if (c == quote)
        quote = 0;
      else
        word += c;
    } else if (c == '"' || c == '\'') {
      quote = c;
      open = true;
    } else if (c == ' ') {
      if (!word.empty() || open) out.push_back(std::exchange(word, {}));
      open = false;
    } else {
      word += c;
    }
  }
  if (quote) return fail(fault::invalid, "The filter has an open quote");
  if (!word.empty() || open) out.push_back(word);
  return out;
}

// "config.user.foo": config keys hold dots themselves, so the longest key that fits is taken first.
const nlohmann::json* field_of(const nlohmann::json& object, std::string_view path) {
  if (!object.is_object()) return nullptr;
  if (auto at = object.find(std::string{path}); at != object.end()) return &*at;
  for (auto dot = path.rfind('.'); dot != path.npos && dot > 0; dot = path.rfind('.', dot - 1))
    if (auto at = object.find(std::string{path.substr(0, dot)}); at != object.end())
      return field_of(*at, path.substr(dot + 1));
  return nullptr;
}

// Whoever may list writes the pattern, and others the text: RE2 takes linear time and bounded memory for any of both.
std::shared_ptr<const re2::RE2> pattern_of(const std::string& value) {
  re2::RE2::Options options;
  options.set_case_sensitive(false);
  options.set_log_errors(false);
  options.set_max_mem(1 << 20);
  bool anchored = value.find_first_of("^$") != value.npos;
  auto out = std::make_shared<re2::RE2>(anchored ? value : "^(?:" + value + ")$", options);
  return out->ok() ? out : nullptr;
}

bool text_matches(const std::string& have, const std::string& wanted, const re2::RE2* pattern) {
  return pattern ? re2::RE2::PartialMatch(have, *pattern) : have == wanted;
}

} // namespace

outcome<list_filter> list_filter::parse(std::string_view text) {
  list_filter out;
  if (text.size() > filter_bytes_max) return fail(fault::invalid, "The filter is too long");
  auto words = words_of(text);
  if (!words) return tl::unexpected{words.error()};
  size_t i = 0;
  bool with_or = false;
  while (i < words->size()) {
    term t;
    t.with_or = with_or;
    if ((*words)[i] == "not") {
      t.negated = true;
      ++i;
    }
    if (i + 3 > words->size()) return fail(fault::invalid, "The filter must be of the form: FIELD eq VALUE");
    t.field = (*words)[i];
    auto& op = (*words)[i + 1];
    if (op != "eq" && op != "ne")
      return fail(fault::invalid, "The filter operator must be eq or ne, not \"" + op + "\"");
    t.not_equal = op == "ne";
    t.value = (*words)[i + 2];
    if (t.value.size() > pattern_bytes_max) return fail(fault::invalid, "The filter value is too long");
    t.pattern = pattern_of(t.value);
    i += 3;
    out.terms_.push_back(std::move(t));
    if (i == words->size()) break;
    auto& join = (*words)[i++];
    if (join != "and" && join != "or") return fail(fault::invalid, "The filter clauses must be joined by and or or");
    with_or = join == "or";
    if (i == words->size()) return fail(fault::invalid, "The filter ends in \"" + join + "\"");
  }
  return out;
}

bool list_filter::holds(const term& t, const nlohmann::json& object) {
  auto have = field_of(object, t.field);
  bool equal = false;
  if (have && have->is_string())
    equal = text_matches(have->get_ref<const std::string&>(), t.value, t.pattern.get());
  else if (have && have->is_boolean())
    equal = (*have ? "true" : "false") == t.value;
  else if (have && have->is_number())
    equal = have->dump() == t.value;
  return (equal != t.not_equal) != t.negated;
}

bool list_filter::matches(const std::string& text) const {
  if (terms_.empty()) return true;
  auto object = nlohmann::json::parse(text, nullptr, false);
  bool result = true;
  for (auto& t : terms_) result = t.with_or ? result || holds(t, object) : result && holds(t, object);
  return result;
}

} // namespace troupe
