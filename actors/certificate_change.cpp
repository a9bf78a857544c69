#include "actors/certificate_change.hpp"

#include "actors/access_change.hpp"
#include "actors/names.hpp"

#include <algorithm>

namespace troupe {
namespace {

using verb = change_certificate::verb;
using put_reader = schema::CertificatePut::Reader;

constexpr std::string_view types[] = {"client", "metrics"};
constexpr size_t projects_max = 1000;

std::string url_of(const std::string& fingerprint) { return "/1.0/certificates/" + fingerprint; }

// Trust concerns the server, not a project.
std::shared_ptr<const header> of_server(const header& from) {
  auto head = std::make_shared<header>(from);
  head->project.clear();
  return head;
}

std::shared_ptr<saga> new_saga(const change_certificate& request, std::string kind, std::string description,
                               const std::string& fingerprint) {
  auto plan = std::make_shared<saga>();
  plan->kind = std::move(kind);
  plan->description = std::move(description);
  plan->head = of_server(*request.head);
  plan->entity = "certificate//" + fingerprint;
  return plan;
}

message<schema::Event> event_of(const saga& plan, const std::string& fingerprint, std::string_view action,
                                bool narrowed = false) {
  config_map context;
  if (narrowed) context.emplace(narrowed_mark, "true");
  return lifecycle_event(*plan.head, "certificate", fingerprint, action, url_of(fingerprint), context);
}

/// Their projects are still there when it is committed.
void expect_projects(const snapshot& records, saga& plan, put_reader put) {
  for (auto& project : to_vector(put.getProjects()))
    plan.commit.conditions.push_back(unchanged(records, table::projects, project));
}

/// Whether its owner may do less than before.
bool narrows(const certificate_record& before, put_reader after) {
  return before.read([&](schema::Certificate::Reader was) {
    if (view(was.getType()) != view(after.getType())) return true;
    if (!after.getRestricted()) return false;
    auto had = to_vector(was.getProjects()), has = to_vector(after.getProjects());
    std::sort(had.begin(), had.end());
    std::sort(has.begin(), has.end());
    return !was.getRestricted() || !std::includes(has.begin(), has.end(), had.begin(), had.end());
  });
}

certificate_record make_record(put_reader put, const certificate& parsed) {
  return certificate_record::make([&](schema::Certificate::Builder c) {
    c.setName(put.getName().size() > 0 ? text(put.getName()) : parsed.common_name);
    c.setType(put.getType());
    c.setRestricted(put.getRestricted());
    c.setProjects(put.getProjects());
    c.setCertificate(to_pem(parsed));
    c.setFingerprint(parsed.fingerprint);
  });
}

outcome<std::shared_ptr<saga>> plan_create(const snapshot& records, const change_certificate& request) {
  return request.body.read([&](put_reader put) -> outcome<std::shared_ptr<saga>> {
    if (auto good = check_certificate(records, put); !good) return tl::unexpected{good.error()};
    auto parsed = usable_certificate(view(put.getCertificate()));
    if (!parsed) return tl::unexpected{parsed.error()};
    auto& name = parsed->fingerprint;
    if (records.get(table::certificates, name))
      return fail(fault::already_exists, "The certificate is in the trust store already");
    auto plan = new_saga(request, "certificate.create", "Adding certificate", name);
    plan->commit.conditions.push_back(absent(table::certificates, name));
    expect_projects(records, *plan, put);
    plan->commit.writes.push_back(troupe::put(table::certificates, name, make_record(put, *parsed)));
    plan->commit.events.push_back(event_of(*plan, name, "certificate-created"));
    return plan;
  });
}

/// What the record becomes, as a request: a patch keeps what it does not name.
message<schema::CertificatePut> merged(const certificate_record& before, const change_certificate& request) {
  auto given = [&](std::string_view field) { return is_given(request, field); };
  return request.body.read([&](put_reader put) {
    return before.read([&](schema::Certificate::Reader was) {
      return message<schema::CertificatePut>::make([&](schema::CertificatePut::Builder out) {
        out.setName(given("name") ? put.getName() : was.getName());
        out.setType(given("type") && put.getType().size() > 0 ? put.getType() : was.getType());
        out.setRestricted(given("restricted") ? put.getRestricted() : was.getRestricted());
        out.setProjects(given("projects") ? put.getProjects() : was.getProjects());
        out.setCertificate(put.getCertificate().size() > 0 ? put.getCertificate() : was.getCertificate());
      });
    });
  });
}

/// A restricted caller may put a new certificate in the place of his own, and change nothing else. Who has no more than
/// the right to edit it may rename it: in another's certificate he would come in as somebody else.
outcome<void> check_renewal(const principal& who, const certificate_record& before, put_reader after) {
  if (who.level == trust::full) return {};
  auto same = before.read([&](schema::Certificate::Reader was) {
    bool own = view(was.getFingerprint()) == who.username && view(was.getName()) == view(after.getName());
    bool editor = who.level == trust::granted && view(was.getCertificate()) == view(after.getCertificate());
    return (own || editor) && view(was.getType()) == view(after.getType()) &&
           was.getRestricted() == after.getRestricted() &&
           to_vector(was.getProjects()) == to_vector(after.getProjects());
  });
  if (same) return {};
  return fail(fault::forbidden, "not authorized");
}

outcome<std::shared_ptr<saga>> plan_update(const snapshot& records, const change_certificate& request,
                                           const certificate_record& before) {
  return merged(before, request).read([&](put_reader put) -> outcome<std::shared_ptr<saga>> {
    if (auto good = check_renewal(request.head->who, before, put); !good) return tl::unexpected{good.error()};
    if (auto good = check_certificate(records, put); !good) return tl::unexpected{good.error()};
    auto parsed = decode_certificate(view(put.getCertificate()));
    if (!parsed) return tl::unexpected{parsed.error()};
    auto plan = new_saga(request, "certificate.update", "Updating certificate", request.fingerprint);
    plan->commit.conditions.push_back(unchanged(records, table::certificates, request.fingerprint));
    auto& name = parsed->fingerprint;
    if (name != request.fingerprint) {
      if (auto usable = usable_certificate(view(put.getCertificate())); !usable) return tl::unexpected{usable.error()};
      if (records.get(table::certificates, name))
        return fail(fault::already_exists, "The certificate is in the trust store already");
      plan->commit.conditions.push_back(absent(table::certificates, name));
      plan->commit.writes.push_back(erase(table::certificates, request.fingerprint));
    }
    expect_projects(records, *plan, put);
    plan->commit.writes.push_back(troupe::put(table::certificates, name, make_record(put, *parsed)));
    bool narrowed = name != request.fingerprint || narrows(before, put);
    plan->commit.events.push_back(event_of(*plan, request.fingerprint, "certificate-updated", narrowed));
    return plan;
  });
}

std::shared_ptr<saga> plan_remove(const snapshot& records, const change_certificate& request) {
  auto plan = new_saga(request, "certificate.delete", "Removing certificate", request.fingerprint);
  plan->commit.conditions.push_back(unchanged(records, table::certificates, request.fingerprint));
  plan->commit.writes.push_back(erase(table::certificates, request.fingerprint));
  plan->commit.events.push_back(event_of(*plan, request.fingerprint, "certificate-deleted"));
  return plan;
}

} // namespace

outcome<void> check_certificate(const snapshot& records, put_reader put) {
  if (auto good = check_text("name", view(put.getName())); !good) return good;
  if (view(put.getType()) == "server")
    return fail(fault::unsupported, "Certificates of type \"server\" are for clusters, which are not there yet");
  if (std::find(std::begin(types), std::end(types), view(put.getType())) == std::end(types))
    return fail(fault::invalid, "A certificate's type is client or metrics");
  auto projects = to_vector(put.getProjects());
  if (!projects.empty() && !put.getRestricted())
    return fail(fault::invalid, "Only a restricted certificate can have projects");
  if (projects.size() > projects_max) return fail(fault::too_large, "A certificate can have 1000 projects");
  for (auto& project : projects)
    if (project.empty() || !records.get(table::projects, project))
      return fail(fault::not_found, "Project \"" + project + "\" not found");
  return {};
}

outcome<std::shared_ptr<saga>> plan_certificate(const snapshot& records, const change_certificate& request) {
  if (request.what == verb::create) return plan_create(records, request);
  auto record = load<schema::Certificate>(records, table::certificates, request.fingerprint);
  if (!record) return fail(fault::not_found, "Certificate not found");
  if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
    return fail(fault::precondition, "The certificate was changed in the meantime (ETag does not match)");
  if (request.what != verb::remove) return plan_update(records, request, *record);
  return plan_remove(records, request);
}

outcome<std::string> full_certificate_fingerprint(const snapshot& records, std::string_view prefix) {
  std::vector<std::string> found;
  if (!prefix.empty())
    records.scan(table::certificates, prefix, [&](std::string_view fingerprint, std::string_view) {
      found.emplace_back(fingerprint);
      return found.size() < 2;
    });
  if (found.empty()) return fail(fault::not_found, "Certificate not found");
  if (found.size() > 1) return fail(fault::invalid, "More than one certificate begins like this");
  return found.front();
}

} // namespace troupe
