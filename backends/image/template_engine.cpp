#include "backends/image/template_engine.hpp"

#include "backends/image/template_tree.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <variant>

namespace troupe {
namespace {

using namespace templates;

/// Nothing is what an unknown name has, as in Django: it prints as nothing and is false. Maps are those of the context.
using value = std::variant<std::monostate, bool, int64_t, std::string, const config_map*, const device_map*>;

template <class... F>
struct cases : F... {
  using F::operator()...;
};
template <class... F>
cases(F...) -> cases<F...>;

bool truth(const value& of) {
  return std::visit(cases{[](std::monostate) { return false; }, [](bool b) { return b; },
                          [](int64_t n) { return n != 0; }, [](const std::string& s) { return !s.empty(); },
                          [](const auto* map) { return !map->empty(); }},
                    of);
}

template <class Map>
value member(const Map& map, std::string_view key) {
  auto at = map.find(key);
  if (at == map.end()) return {};
  if constexpr (std::is_same_v<Map, config_map>)
    return at->second;
  else
    return &at->second;
}

struct variable {
  std::string name;
  value content;
};

class evaluator {
public:
  explicit evaluator(const template_context& context) : context_{context} {}
  std::string run(const node_list& nodes) {
    walk(nodes);
    return std::move(out_);
  }

private:
  void walk(const node_list& nodes) {
    for (const auto& n : nodes) {
      switch (n.what) {
        case block::text:
          write(n.word, n.line);
          break;
        case block::print:
          write(text_of(evaluate(n.value), n.line), n.line);
          break;
        case block::choose:
          choose(n);
          break;
        case block::loop:
          loop(n);
          break;
      }
    }
  }
  void choose(const node& n) {
    for (const auto& b : n.branches)
      if (b.otherwise || truth(evaluate(b.condition))) return walk(b.body);
  }
  void loop(const node& n) {
    auto over = evaluate(n.value);
    std::visit(cases{[](std::monostate) {}, [&](const config_map* map) { turns(n, *map); },
                     [&](const device_map* map) { turns(n, *map); },
                     [&](const auto&) { refuse(fault::unsupported, n.line, "\"for\" goes over maps only"); }},
               over);
  }
  template <class Map>
  void turns(const node& n, const Map& map) {
    const auto outer = variables_.size();
    for (const auto& [key, content] : map) {
      if (++turns_ > turns_max) refuse(fault::too_large, n.line, "the loops run too often");
      variables_.push_back({n.word, key});
      if (!n.second.empty()) variables_.push_back({n.second, member(map, key)});
      walk(n.body);
      variables_.resize(outer);
    }
  }
  void write(std::string_view text, unsigned line) {
    if (text.size() > output_max - out_.size()) refuse(fault::too_large, line, "the result is larger than 1 MiB");
    out_ += text;
  }

  /// Long texts are cheap to name many times in a short template; this keeps the sum of what they cost in bounds.
  void charge(size_t bytes, unsigned line) {
    work_ += bytes + 1;
    if (work_ > work_max) refuse(fault::too_large, line, "the template works on too much text");
  }

  std::string text_of(const value& of, unsigned line) {
    return std::visit(
        cases{[](std::monostate) { return std::string{}; }, [](bool b) { return std::string{b ? "True" : "False"}; },
              [](int64_t n) { return std::to_string(n); },
              [&](const std::string& s) {
                charge(s.size(), line);
                return s;
              },
              [&](const auto*) -> std::string { refuse(fault::unsupported, line, "a whole map cannot be printed"); }},
        of);
  }

  value evaluate(const expression& e) {
    switch (e.what) {
      case operation::text:
        return e.word;
      case operation::number: {
        int64_t n = 0;
        std::from_chars(e.word.data(), e.word.data() + e.word.size(), n);
        return n;
      }
      case operation::boolean:
        return e.word == "true";
      case operation::name:
        return look_up(e);
      case operation::call:
        return config_get(e);
      case operation::filter:
        return filtered(e);
      case operation::negate:
        return !truth(evaluate(e.operands[0]));
      case operation::both:
        return truth(evaluate(e.operands[0])) && truth(evaluate(e.operands[1]));
      case operation::either:
        return truth(evaluate(e.operands[0])) || truth(evaluate(e.operands[1]));
      case operation::equal:
        return equal(e);
      case operation::unequal:
        return !equal(e);
      case operation::in:
        return contains(e);
      case operation::not_in:
        return !contains(e);
    }
    return {};
  }

  value root(std::string_view name) {
    auto loop = std::find_if(variables_.rbegin(), variables_.rend(), [&](const variable& v) { return v.name == name; });
    if (loop != variables_.rend()) return loop->content;
    if (name == "trigger") return context_.trigger;
    if (name == "path") return context_.path;
    if (name == "container" || name == "instance") return &context_.instance;
    if (name == "config") return &context_.config;
    if (name == "devices") return &context_.devices;
    if (name == "properties") return &context_.properties;
    return {};
  }

  /// Keys have dots themselves (config.user.key): at a map of strings the rest of the name is tried as one key.
  value look_up(const expression& e) {
    std::string_view rest{e.word};
    auto step = [&] {
      auto part = rest.substr(0, rest.find('.'));
      rest.remove_prefix(std::min(rest.size(), part.size() + 1));
      return part;
    };
    auto at = root(step());
    while (!rest.empty()) {
      if (const auto* map = std::get_if<const device_map*>(&at))
        at = member(**map, step());
      else if (const auto* strings = std::get_if<const config_map*>(&at))
        return member(**strings, rest);
      else
        return {};
    }
    if (const auto* s = std::get_if<std::string>(&at)) charge(s->size(), e.line);
    return at;
  }

  value config_get(const expression& e) {
    auto key = text_of(evaluate(e.operands[0]), e.line);
    auto at = context_.config.find(key);
    if (at == context_.config.end()) return evaluate(e.operands[1]);
    charge(at->second.size(), e.line);
    return at->second.substr(0, at->second.find_last_not_of("\r\n") + 1);
  }

  value filtered(const expression& e) {
    auto of = evaluate(e.operands[0]);
    if (e.word == "default") return truth(of) ? of : evaluate(e.operands[1]);
    auto text = text_of(of, e.line);
    const bool up = e.word == "upper";
    // ASCII only, whatever the locale: what is written must not depend on the host.
    for (char& c : text) {
      if (up && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
      if (!up && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    }
    return text;
  }

  bool equal(const expression& e) {
    auto left = evaluate(e.operands[0]), right = evaluate(e.operands[1]);
    if (const auto* text = std::get_if<std::string>(&left)) charge(text->size(), e.line);
    return left == right;
  }

  bool contains(const expression& e) {
    auto item = text_of(evaluate(e.operands[0]), e.line);
    auto where = evaluate(e.operands[1]);
    return std::visit(cases{[](std::monostate) { return false; },
                            [&](const std::string& s) {
                              charge(s.size() + item.size(), e.line);
                              return memmem(s.data(), s.size(), item.data(), item.size()) !=
                                     nullptr; // linear, unlike find
                            },
                            [&](const config_map* map) { return map->contains(item); },
                            [&](const device_map* map) { return map->contains(item); },
                            [&](const auto&) -> bool {
                              refuse(fault::unsupported, e.line, "\"in\" looks into texts and maps only");
                            }},
                      where);
  }

  const template_context& context_;
  std::string out_;
  std::vector<variable> variables_;
  size_t turns_ = 0;
  size_t work_ = 0;
};

} // namespace

outcome<std::string> render_template(std::string_view source, const template_context& context) {
  try {
    return evaluator{context}.run(parse(source));
  } catch (const template_refusal& refusal) {
    return tl::unexpected{refusal.why};
  }
}

outcome<void> check_template(std::string_view source) {
  try {
    parse(source);
    return {};
  } catch (const template_refusal& refusal) {
    return tl::unexpected{refusal.why};
  }
}

} // namespace troupe
