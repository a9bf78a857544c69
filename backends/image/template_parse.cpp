#include "backends/image/template_tree.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace troupe::templates {
namespace {

enum class token_kind : uint8_t { end, word, text, number, sign };

struct token {
  token_kind kind = token_kind::end;
  std::string value;
};

std::string quoted(std::string_view text) { return "\"" + std::string{text.substr(0, 100)} + "\""; }

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

/// The words of one tag.
std::vector<token> tokens_of(std::string_view code, unsigned line) {
  static constexpr std::array<std::string_view, 9> signs{"==", "!=", "&&", "||", "(", ")", "|", ",", ":"};
  std::vector<token> out;
  while (!code.empty()) {
    char c = code.front();
    size_t size = 1;
    if (std::isspace(static_cast<unsigned char>(c))) {
      // skipped
    } else if (c == '"' || c == '\'') {
      std::string text;
      for (; size < code.size() && code[size] != c; ++size) {
        if (code[size] == '\\' && size + 1 < code.size()) ++size;
        text += code[size];
      }
      if (size == code.size()) refuse(fault::invalid, line, "a text is not closed");
      ++size;
      out.push_back({token_kind::text, std::move(text)});
    } else if (is_word(c)) {
      // A name is dotted: config.user.key, properties.default.
      while (size < code.size() &&
             (is_word(code[size]) || (code[size] == '.' && size + 1 < code.size() && is_word(code[size + 1]))))
        ++size;
      auto word = code.substr(0, size);
      bool digits = std::all_of(word.begin(), word.end(), [](unsigned char d) { return std::isdigit(d); });
      out.push_back({digits ? token_kind::number : token_kind::word, std::string{word}});
    } else {
      auto sign = std::find_if(signs.begin(), signs.end(), [&](auto s) { return code.starts_with(s); });
      if (sign == signs.end())
        refuse(fault::unsupported, line, "the sign " + quoted(code.substr(0, 1)) + " is not supported");
      size = sign->size();
      out.push_back({token_kind::sign, std::string{*sign}});
    }
    code.remove_prefix(size);
  }
  out.emplace_back();
  return out;
}

/// or < and < not < == != in < filters < values.
class expression_parser {
public:
  expression_parser(std::vector<token> tokens, unsigned line) : tokens_{std::move(tokens)}, line_{line} {}

  expression parse_any() {
    if (++depth_ > nesting_max) refuse(fault::too_large, line_, "an expression is nested too deep");
    auto out = parse_both();
    while (take_word("or") || take_sign("||")) out = join(operation::either, std::move(out), parse_both());
    --depth_;
    return out;
  }
  std::string take_name(const char* what) {
    if (here().kind != token_kind::word || here().value.find('.') != std::string::npos)
      refuse(fault::invalid, line_, std::string{what} + " must be a name");
    return tokens_[at_++].value;
  }
  bool take_word(std::string_view word) { return take(token_kind::word, word); }
  bool take_sign(std::string_view sign) { return take(token_kind::sign, sign); }
  void expect_end() {
    if (here().kind != token_kind::end)
      refuse(fault::unsupported, line_, quoted(here().value) + " is not understood here");
  }

private:
  const token& here() const { return tokens_[at_]; }
  bool take(token_kind kind, std::string_view value) {
    if (here().kind != kind || here().value != value) return false;
    ++at_;
    return true;
  }
  expression join(operation what, expression left, expression right) {
    if (++joins_ > 1000)
      refuse(fault::too_large, line_, "an expression is too long"); // the tree is walked by recursion
    expression out{what, {}, {}, line_};
    out.operands.push_back(std::move(left));
    out.operands.push_back(std::move(right));
    return out;
  }
  expression parse_both() {
    auto out = parse_negated();
    while (take_word("and") || take_sign("&&")) out = join(operation::both, std::move(out), parse_negated());
    return out;
  }
  expression parse_negated() {
    bool negated = false;
    bool seen = false;
    while (take_word("not")) negated = !negated, seen = true;
    auto out = parse_comparison();
    if (!seen) return out;
    expression inner{operation::negate, {}, {}, line_};
    inner.operands.push_back(std::move(out));
    if (negated) return inner;
    expression outer{operation::negate, {}, {}, line_};
    outer.operands.push_back(std::move(inner));
    return outer;
  }
  expression parse_comparison() {
    auto left = parse_filtered();
    if (take_sign("==")) return join(operation::equal, std::move(left), parse_filtered());
    if (take_sign("!=")) return join(operation::unequal, std::move(left), parse_filtered());
    if (take_word("in")) return join(operation::in, std::move(left), parse_filtered());
    if (take_word("not")) {
      if (!take_word("in")) refuse(fault::invalid, line_, "\"not\" stands where only \"not in\" can");
      return join(operation::not_in, std::move(left), parse_filtered());
    }
    return left;
  }
  expression parse_filtered() {
    auto out = parse_value();
    while (take_sign("|")) {
      expression filter{operation::filter, take_name("a filter"), {}, line_};
      if (filter.word != "default" && filter.word != "lower" && filter.word != "upper")
        refuse(fault::unsupported, line_, "the filter " + quoted(filter.word) + " is not supported");
      if (++joins_ > 1000) refuse(fault::too_large, line_, "an expression is too long");
      filter.operands.push_back(std::move(out));
      const bool wants = filter.word == "default";
      if (wants != take_sign(":"))
        refuse(fault::invalid, line_,
               "the filter " + quoted(filter.word) + (wants ? " needs" : " takes no") + " argument");
      if (wants) filter.operands.push_back(parse_value());
      out = std::move(filter);
    }
    return out;
  }
  expression parse_value() {
    if (take_sign("(")) {
      auto out = parse_any();
      if (!take_sign(")")) refuse(fault::invalid, line_, "a bracket is not closed");
      return out;
    }
    auto [kind, value] = here();
    if (kind == token_kind::end || kind == token_kind::sign)
      refuse(fault::invalid, line_,
             kind == token_kind::end ? "a value is missing" : quoted(value) + " stands where a value must be");
    ++at_;
    if (kind == token_kind::text) return {operation::text, value, {}, line_};
    if (kind == token_kind::number) {
      if (value.size() > 18) refuse(fault::invalid, line_, "the number " + quoted(value) + " is too large");
      return {operation::number, value, {}, line_};
    }
    if (value == "true" || value == "false") return {operation::boolean, value, {}, line_};
    if (take_sign("(")) return parse_call(value);
    return {operation::name, value, {}, line_};
  }
  expression parse_call(const std::string& name) {
    if (name != "config_get") refuse(fault::unsupported, line_, "the function " + quoted(name) + " is not supported");
    expression out{operation::call, name, {}, line_};
    out.operands.push_back(parse_any());
    if (!take_sign(",")) refuse(fault::invalid, line_, "config_get needs a key and a default");
    out.operands.push_back(parse_any());
    if (!take_sign(")")) refuse(fault::invalid, line_, "config_get needs a key and a default");
    return out;
  }

  std::vector<token> tokens_;
  size_t at_ = 0;
  size_t depth_ = 0;
  size_t joins_ = 0;
  unsigned line_;
};

struct piece {
  char kind; // 't' text, 'p' {{ }}, 'b' {% %}
  std::string_view content;
  unsigned line;
};

std::string_view strip_left(std::string_view text) {
  auto at = text.find_first_not_of(" \t\r\n");
  return at == text.npos ? std::string_view{} : text.substr(at);
}

std::string_view strip_right(std::string_view text) { return text.substr(0, text.find_last_not_of(" \t\r\n") + 1); }

/// The end of a tag that begins at 0; the closing sign does not count inside a quoted text.
size_t end_of_tag(std::string_view source, std::string_view closing, bool quotes) {
  char open = 0;
  for (size_t i = 2; i + 1 < source.size(); ++i) {
    char c = source[i];
    if (quotes && open == 0 && (c == '"' || c == '\''))
      open = c;
    else if (open != 0 && c == '\\')
      ++i;
    else if (open != 0 && c == open)
      open = 0;
    else if (open == 0 && source.substr(i, 2) == closing)
      return i;
  }
  return source.npos;
}

std::vector<piece> pieces_of(std::string_view source) {
  std::vector<piece> out;
  unsigned line = 1;
  bool trim_next = false;
  while (!source.empty()) {
    size_t at = 0;
    while ((at = source.find('{', at)) != source.npos &&
           (at + 1 == source.size() || std::string_view{"{%#"}.find(source[at + 1]) == std::string_view::npos))
      ++at;
    auto text = source.substr(0, at);
    const unsigned text_line = line;
    line += static_cast<unsigned>(std::count(text.begin(), text.end(), '\n'));
    if (trim_next) text = strip_left(text);
    if (at == source.npos) {
      if (!text.empty()) out.push_back({'t', text, text_line});
      break;
    }
    source.remove_prefix(at);
    const char kind = source[1];
    auto closing = kind == '{' ? "}}" : kind == '%' ? "%}" : "#}";
    auto end = end_of_tag(source, closing, kind != '#');
    if (end == source.npos) refuse(fault::invalid, line, "a tag is not closed");
    auto content = source.substr(2, end - 2);
    if (content.starts_with('-')) {
      content.remove_prefix(1);
      text = strip_right(text);
    }
    if ((trim_next = content.ends_with('-'))) content.remove_suffix(1);
    if (!text.empty()) out.push_back({'t', text, text_line});
    if (kind != '#') out.push_back({kind == '{' ? 'p' : 'b', content, line});
    line += static_cast<unsigned>(std::count(content.begin(), content.end(), '\n'));
    source.remove_prefix(end + 2);
  }
  return out;
}

class block_parser {
public:
  explicit block_parser(std::vector<piece> pieces) : pieces_{std::move(pieces)} {}

  node_list parse_all() {
    auto out = parse_list();
    if (at_ < pieces_.size())
      refuse(fault::invalid, pieces_[at_].line, quoted(word_of(pieces_[at_])) + " closes nothing");
    return out;
  }

private:
  static std::string_view word_of(const piece& tag) {
    auto text = strip_left(tag.content);
    return text.substr(0, static_cast<size_t>(std::find_if_not(text.begin(), text.end(), is_word) - text.begin()));
  }
  expression_parser rest_of(const piece& tag) {
    auto text = strip_left(tag.content);
    text.remove_prefix(word_of(tag).size());
    return {tokens_of(text, tag.line), tag.line};
  }

  /// Until a tag that belongs to an enclosing block.
  node_list parse_list() {
    if (++depth_ > nesting_max)
      refuse(fault::too_large, pieces_[std::min(at_, pieces_.size() - 1)].line, "blocks are nested too deep");
    node_list out;
    for (; at_ < pieces_.size(); ++at_) {
      const auto& p = pieces_[at_];
      node next;
      next.line = p.line;
      if (p.kind == 't') {
        next.word = p.content;
      } else if (p.kind == 'p') {
        next.what = block::print;
        expression_parser inner{tokens_of(p.content, p.line), p.line};
        next.value = inner.parse_any();
        inner.expect_end();
      } else {
        auto word = word_of(p);
        if (word == "elif" || word == "else" || word == "endif" || word == "endfor") break;
        if (word == "if")
          parse_choice(next);
        else if (word == "for")
          parse_loop(next);
        else
          refuse(fault::unsupported, p.line,
                 "the tag " + quoted(word.empty() ? strip_right(strip_left(p.content)) : word) + " is not supported");
      }
      out.push_back(std::move(next));
    }
    --depth_;
    return out;
  }

  /// The piece that ended a list; it must be one of these.
  const piece& closing_of(const node& opened, const char* what) {
    if (at_ == pieces_.size()) refuse(fault::invalid, opened.line, std::string{what} + " is not closed");
    return pieces_[at_];
  }

  void parse_choice(node& out) {
    out.what = block::choose;
    auto condition = rest_of(pieces_[at_]);
    for (bool otherwise = false;;) {
      branch next;
      next.otherwise = otherwise;
      if (!otherwise) next.condition = condition.parse_any();
      condition.expect_end();
      ++at_;
      next.body = parse_list();
      out.branches.push_back(std::move(next));
      const auto& tag = closing_of(out, "\"if\"");
      auto word = word_of(tag);
      condition = rest_of(tag);
      if (word == "endif") return condition.expect_end();
      if (otherwise || word == "endfor")
        refuse(fault::invalid, tag.line, quoted(word) + " stands where \"endif\" must be");
      otherwise = word == "else";
    }
  }

  void parse_loop(node& out) {
    out.what = block::loop;
    auto head = rest_of(pieces_[at_]);
    out.word = head.take_name("a loop variable");
    if (head.take_sign(",")) out.second = head.take_name("a loop variable");
    if (!head.take_word("in")) refuse(fault::invalid, out.line, "\"for\" needs \"in\"");
    out.value = head.parse_any();
    head.expect_end();
    ++at_;
    out.body = parse_list();
    const auto& tag = closing_of(out, "\"for\"");
    if (word_of(tag) != "endfor")
      refuse(fault::invalid, tag.line, quoted(word_of(tag)) + " stands where \"endfor\" must be");
    rest_of(tag).expect_end();
  }

  std::vector<piece> pieces_;
  size_t at_ = 0;
  size_t depth_ = 0;
};

} // namespace

void refuse(fault code, unsigned line, const std::string& what) {
  throw template_refusal{{code, "Line " + std::to_string(line) + " of the template: " + what}};
}

node_list parse(std::string_view source) {
  if (source.size() > source_max) refuse(fault::too_large, 1, "the template is larger than 1 MiB");
  auto pieces = pieces_of(source);
  if (pieces.empty()) return {};
  return block_parser{std::move(pieces)}.parse_all();
}

} // namespace troupe::templates
