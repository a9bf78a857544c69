#include "gateway/bus/page.hpp"

#include "messages/json.hpp"

namespace troupe::on_bus {

list_filter filter_of(bus::Page::Reader page) { return value_of(list_filter::parse(view(page.getFilter()))); }

bool passes(const list_filter& filter, capnp::DynamicStruct::Reader item) {
  std::string shown = "{";
  KJ_IF_MAYBE (spec, item.getSchema().findFieldByName("spec"))
    write_json_fields(shown, item.get(*spec).as<capnp::DynamicStruct>());
  write_json_fields(shown, item);
  return filter.matches(shown + "}");
}

} // namespace troupe::on_bus
