#include "backends/image/template_engine.hpp"

#include <catch2/catch.hpp>

using namespace troupe;
using Catch::Matchers::Contains;

namespace {

template_context context() {
  template_context out;
  out.trigger = "create";
  out.path = "/etc/hostname";
  out.instance = {{"name", "c1"}, {"type", "container"}, {"architecture", "x86_64"}, {"privileged", "false"}};
  out.config = {
      {"user.proof", "yes\r\n"}, {"user.a", "1"}, {"user.empty", ""}, {"user.network-config", "version: 2\n"}};
  out.devices = {{"eth0", {{"type", "nic"}, {"network", "br0"}}}, {"root", {{"type", "disk"}, {"path", "/"}}}};
  out.properties = {{"default", "nothing"}};
  return out;
}

std::string render(std::string_view source) {
  auto out = render_template(source, context());
  INFO(source);
  INFO((out ? "" : out.error().message));
  REQUIRE(out.has_value());
  return *out;
}

error refusal(std::string_view source) {
  auto out = render_template(source, context());
  INFO(source.substr(0, 200));
  REQUIRE_FALSE(out.has_value());
  return out.error();
}

std::string repeated(const std::string& what, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += what;
  return out;
}

} // namespace

TEST_CASE("the templates of common images render as with LXD") {
  CHECK(render("{{ container.name }}\n") == "c1\n");
  CHECK(render("path={{ path }} trigger={{ trigger }} name={{ container.name }} "
               "custom={{ config_get(\"user.proof\", properties.default) }}\n") ==
        "path=/etc/hostname trigger=create name=c1 custom=yes\n");
  CHECK(render("{{ config_get('user.missing', properties.default) }}") == "nothing");
  CHECK(render("127.0.1.1 {{ instance.name }}\n") == "127.0.1.1 c1\n");
  CHECK(render("#cloud-config\n{{ config_get(\"user.user-data\", properties.default) }}\n") ==
        "#cloud-config\nnothing\n");
  CHECK(render("instance-id: {{ container.name }}\n{{ config_get(\"user.meta-data\", \"\") }}\n") ==
        "instance-id: c1\n\n");
  CHECK(render("{% if config_get(\"user.network-config\", \"\") == \"\" %}version: 1\nconfig: []"
               "{% else %}{{ config_get(\"user.network-config\", \"\") }}{% endif %}") == "version: 2");
  CHECK(render("{% for key, value in config %}{{ key }}={{ value }};{% endfor %}") ==
        "user.a=1;user.empty=;user.network-config=version: 2\n;user.proof=yes\r\n;");
}

TEST_CASE("template values, filters and operators") {
  CHECK(render("no tags { } {x} }} %}") == "no tags { } {x} }} %}");
  CHECK(render("{{ nothing }}{{ container.nothing }}{{ a.b.c }}") == "");
  CHECK(render("{{ config.user.a }} {{ devices.eth0.network }}") == "1 br0");
  CHECK(
      render(
          "{{ container.name|upper|lower|upper }} {{ nothing|default:\"d\" }} {{ config.user.empty|default:path }}") ==
      "C1 d /etc/hostname");
  CHECK(render("{{ true }} {{ not true }} {{ 42 }} {{ \"a\\\"b\" }} {{ 'q' }}") == "True False 42 a\"b q");
  CHECK(render("{{ \"<&>\" }}") == "<&>");
  CHECK(render("{% if trigger == \"create\" and container.type != \"virtual-machine\" %}y{% endif %}") == "y");
  CHECK(render("{% if false or not (trigger == \"copy\") %}y{% else %}n{% endif %}") == "y");
  CHECK(render("{% if \"rea\" in trigger %}a{% endif %}{% if \"eth0\" in devices %}b{% endif %}"
               "{% if \"x\" not in config %}c{% endif %}") == "abc");
  CHECK(render("{% if nothing %}1{% elif trigger == \"copy\" %}2{% elif 1 == 1 %}3{% else %}4{% endif %}") == "3");
  CHECK(render("{% if 1 == \"1\" %}y{% else %}n{% endif %}") == "n");
  CHECK(render("{% if not not trigger %}y{% endif %}{% if 0 %}n{% endif %}") == "y");
  CHECK(render("{% if \"%}\" == \"}}\" %}y{% else %}n{% endif %}") == "n");
}

TEST_CASE("template loops, comments and trimming") {
  CHECK(render("{% for d in devices %}{{ d }} {% endfor %}") == "eth0 root ");
  CHECK(render("{% for name, d in devices %}{% for k, v in d %}{{ name }}.{{ k }}={{ v }} {% endfor %}{% endfor %}") ==
        "eth0.network=br0 eth0.type=nic root.path=/ root.type=disk ");
  CHECK(render("{% for name, d in devices %}{{ d.type }}{% endfor %}{{ name }}") == "nicdisk");
  CHECK(render("a{# {{ not.evaluated }} \" #}b") == "ab");
  CHECK(render("a \n {{- path -}} \n b") == "a/etc/hostnameb");
  CHECK(render("a\n{%- if true -%}\n b \n{%- endif %}\nc") == "ab\nc");
  CHECK(render("") == "");
}

TEST_CASE("what the template engine does not know is an error that names it") {
  auto [source, word] = GENERATE(table<std::string, std::string>({
      {"{% include \"/etc/shadow\" %}", "include"},
      {"{% extends \"x\" %}", "extends"},
      {"\n\n{% ssi /etc/shadow %}", "Line 3"},
      {"{% set x = 1 %}", "set"},
      {"{{ a|safe }}", "safe"},
      {"{{ open(\"/etc/shadow\") }}", "open"},
      {"{{ a + b }}", "+"},
      {"{{ a[0] }}", "["},
      {"{{ config }}", "map"},
      {"{% for x in path %}{% endfor %}", "maps only"},
      {"{% if a < b %}{% endif %}", "<"},
  }));
  auto error = refusal(source);
  CHECK(error.code == fault::unsupported);
  CHECK_THAT(error.message, Contains(word));
}

TEST_CASE("broken templates are refused") {
  auto source = GENERATE(as<std::string>{}, "{{ a", "{% if a %}", "{% for x in config %}", "{% endif %}", "{% else %}",
                         "{{ }}", "{{ \"a }}", "{% if a %}{% endfor %}", "{% if a %}{% else %}{% else %}{% endif %}",
                         "{{ (a }}", "{{ a | }}", "{{ a|default }}", "{{ a|upper:\"x\" }}", "{{ config_get(\"a\") }}",
                         "{% for in config %}{% endfor %}", "{% for x config %}{% endfor %}", "{% if %}{% endif %}",
                         "{{ a not b }}", "{# never closed", "{{", "{%", "{#", "{{ 99999999999999999999 }}");
  CHECK(refusal(source).code == fault::invalid);
}

TEST_CASE("templates cannot take unbounded time, depth or space") {
  CHECK(refusal("{{ " + repeated("(", 100'000) + "a" + repeated(")", 100'000) + " }}").code == fault::too_large);
  CHECK(refusal(repeated("{% if a %}", 10'000) + repeated("{% endif %}", 10'000)).code == fault::too_large);
  CHECK(refusal("{{ a" + repeated("|upper", 100'000) + " }}").code == fault::too_large);
  CHECK(refusal("{% if a" + repeated(" or a", 100'000) + " %}{% endif %}").code == fault::too_large);
  CHECK(render("{% if " + repeated("not ", 10'000) + "true %}y{% endif %}") == "y");
  CHECK(refusal(std::string(2 << 20, ' ')).code == fault::too_large);
  std::string nested = "x";
  for (int i = 0; i < 20; ++i) nested = "{% for k in config %}" + nested + "{% endfor %}";
  CHECK(refusal(nested).code == fault::too_large);

  auto large = context();
  large.config["user.big"] = std::string(600'000, 'b');
  CHECK(render_template("{{ config.user.big }}{{ config.user.big }}", large).error().code == fault::too_large);
  const auto busy = repeated("{% if config.user.big|upper == \"\" %}{% endif %}", 500);
  CHECK(render_template(busy, large).error().code == fault::too_large);
}
