#pragma once

#include "messages/config_map.hpp"
#include "messages/error.hpp"

#include <string>
#include <string_view>

namespace troupe {

/// What an image template may see (wire-protocols 5.1). Nothing else is reachable: no files, no includes.
struct template_context {
  std::string trigger; // create, copy, rename, start
  std::string path;    // of the target inside the instance
  config_map instance; // name, type, architecture, privileged, ephemeral; also known as `container`
  config_map config;   // expanded
  device_map devices;
  config_map properties;
};

/// Renders the Django/Jinja subset that image templates use: {{ a.b }}, {{ config_get("k", default) }}, filters
/// default, lower, upper, {% if %}/{% elif %}/{% else %}/{% endif %} with ==, !=, and, or, not, in, {% for x in y %},
/// {# comments #}, "-" trimming. What it does not know is an error that names it.
outcome<std::string> render_template(std::string_view source, const template_context& context);

/// Whether it can be parsed; what it refers to is not looked at.
outcome<void> check_template(std::string_view source);

} // namespace troupe
