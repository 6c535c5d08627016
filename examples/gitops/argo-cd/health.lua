-- Health of a BatchInferenceJob for Argo CD: the conditions, and whether they are about this spec.
local status = obj.status or {}
local health = {status = "Progressing", message = "not yet seen by the operator"}

if status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end

local is = {}
for _, condition in ipairs(status.conditions) do
  if condition.status == "True" then
    is[condition.type] = condition
  end
end

local states = {
  {"Failed", "Degraded"},
  {"Complete", "Healthy"},
  {"Suspended", "Suspended"},
  {"Reconciling", "Progressing"},
}
for _, state in ipairs(states) do
  local condition = is[state[1]]
  if condition ~= nil then
    health.status = state[2]
    health.message = condition.reason .. ": " .. (condition.message or "")
    return health
  end
end
return health
